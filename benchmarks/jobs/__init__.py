"""From a configuration to stored results: resolving, planning, computing, identifying, verifying."""
