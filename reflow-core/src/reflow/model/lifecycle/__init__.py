"""The lifecycle of an element: its states, what events do to it, and which reports count."""
