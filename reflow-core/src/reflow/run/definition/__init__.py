"""What a run is made of: its definition, its code, and what opens them."""
