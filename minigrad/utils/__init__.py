"""What training needs beside the engine: data in batches."""
