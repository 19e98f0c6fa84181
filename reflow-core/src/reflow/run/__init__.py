"""One run's life: submit, advance, look at it."""
