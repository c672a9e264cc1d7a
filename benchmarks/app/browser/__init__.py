"""``python -m da --app``: explain photographs in a browser, on this machine."""
