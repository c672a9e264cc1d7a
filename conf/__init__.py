"""The Hydra configuration: what runs."""
