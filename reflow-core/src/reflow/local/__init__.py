"""Executors on this machine: a pool of warm workers, and this very process."""
