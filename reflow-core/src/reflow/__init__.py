"""A daemonless workflow engine: typed Python functions become a pipeline on a laptop or a batch scheduler."""

__version__ = "0.1.0"
