"""Dynamic Ablation: rule-guided, decision-based attribution."""

import os

# Before PyTorch is imported: its idle threads would spin for milliseconds after each operation, on the cores that the engine is to use.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
