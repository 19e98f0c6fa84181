"""What a user keeps between runs: the registry of runs and the cache of results."""
