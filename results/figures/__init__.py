"""Figures: static ones for papers, interactive ones for the page."""
