"""Sweeps that search."""
