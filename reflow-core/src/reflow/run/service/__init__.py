"""What commands and Python's callers ask of runs."""
