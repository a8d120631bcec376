"""The mathematics: one file a family, and in it, for each operation, everything that is known of it."""
