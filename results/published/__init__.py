"""Rows behind printed numbers: published with a manifest, and read again for the tables and figures of documents."""
