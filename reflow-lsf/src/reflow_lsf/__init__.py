"""The IBM Spectrum LSF executor for reflow, as a plugin."""
