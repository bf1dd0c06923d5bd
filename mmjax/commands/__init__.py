"""What the command line offers, each a frozen `Options` and a `run`; the only place where all rooms meet."""
