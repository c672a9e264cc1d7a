"""Methods that end in a region that is enough for the class, and one that optimises for it."""
