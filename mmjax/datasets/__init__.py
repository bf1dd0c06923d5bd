"""Data sets by name, those in the package and those that `prepare` fetches."""
