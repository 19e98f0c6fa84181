"""Load the kit."""

pytest_plugins = ["reflow.testing"]
