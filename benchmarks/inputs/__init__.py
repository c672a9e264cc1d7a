"""What users write: command lines, configurations, paths; and what to say where these are wrong."""
