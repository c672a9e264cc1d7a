"""What ``benchmarks.tools.new`` writes; NEW_NAME stands for the name."""
