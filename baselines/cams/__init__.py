"""Methods that weigh the feature maps of one layer."""
