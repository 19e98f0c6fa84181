"""What schedulers that are driven by commands have in common: text in, text out."""
