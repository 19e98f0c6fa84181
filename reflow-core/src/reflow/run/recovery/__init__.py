"""Repair of damaged runs, and of the store."""
