"""Programs beside the benchmark: speed, decisions of engines, training, versions."""
