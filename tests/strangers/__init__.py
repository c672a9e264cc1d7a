"""Networks, methods, graphs and files as people have them."""
