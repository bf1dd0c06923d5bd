"""What is computed of predictions and truth, in NumPy, and its intervals."""
