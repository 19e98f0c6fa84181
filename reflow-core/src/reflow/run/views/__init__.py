"""What people are shown of a run; these read the journal only."""
