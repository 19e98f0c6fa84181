"""What is on record of a run: lease, events, reports."""
