"""The Slurm executor for reflow, as a plugin."""
