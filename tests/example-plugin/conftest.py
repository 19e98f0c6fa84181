pytest_plugins = ["reflow.testing"]
