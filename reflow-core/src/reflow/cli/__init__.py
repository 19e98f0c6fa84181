"""The command line: ``reflow``, and every pipeline's own (`Workflow.cli`)."""
