"""Boards: a task on a list of images, the entries that are checked against it, and their ranks."""
