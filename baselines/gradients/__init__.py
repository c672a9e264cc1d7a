"""Methods that use the gradient of the class with respect to the image."""
