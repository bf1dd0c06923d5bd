"""Checkpoints of other projects, read and written: one table of names per upstream family."""
