"""What was computed and what it shows: the store, statistics, tables, figures and the page."""
