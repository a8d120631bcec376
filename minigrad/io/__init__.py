"""Files in and out: IDX, safetensors, checkpoints, and writing that never leaves half a file."""
