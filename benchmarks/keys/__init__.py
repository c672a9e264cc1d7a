"""What the keys of the store are made of: names, versions, and hashes of sources; and where a number comes from."""
