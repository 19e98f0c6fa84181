"""The PBS executor (PBS Professional, OpenPBS, TORQUE) for reflow, as a plugin."""
