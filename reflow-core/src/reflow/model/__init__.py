"""Values: what the parts of reflow say to each other. No input or output happens here."""
