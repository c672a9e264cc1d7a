"""The store, statistics, tables and figures."""
