"""Who drives a run: this process, or a wake-up job."""
