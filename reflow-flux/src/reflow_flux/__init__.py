"""The Flux executor for reflow, as a plugin."""
