"""Backward passes in plain numpy, right ones and wrong ones, with the mistake that each wrong one makes."""
