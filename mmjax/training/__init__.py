"""The one train step, its state, and everything that keeps a run going."""
