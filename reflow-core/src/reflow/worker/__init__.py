"""What runs in a job. Lean: its exact list of imports is a test."""
