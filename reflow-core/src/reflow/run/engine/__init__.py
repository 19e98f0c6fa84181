"""What advances a run."""
