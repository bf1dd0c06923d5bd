"""Files that hold a checkpoint: which there are, and each format as named arrays."""
