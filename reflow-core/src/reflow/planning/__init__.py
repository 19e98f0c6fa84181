"""Pure decisions: what to do next, how to cut arrays, who an element is."""
