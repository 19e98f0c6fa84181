"""The Grid Engine executor for reflow, as a plugin."""
