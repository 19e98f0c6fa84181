"""Jobs of a run: made, submitted, polled, cancelled."""
