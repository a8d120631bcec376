"""Fast loops: arrays in, preallocated arrays out. Nothing here knows of tensors or graphs."""
