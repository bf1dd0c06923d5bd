"""What the command line and the notebook offer; the only place where all rooms meet."""
