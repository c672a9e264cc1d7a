"""A package of your own, outside the harness."""
