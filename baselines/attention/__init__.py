"""Methods that follow the attention of a vision transformer."""
