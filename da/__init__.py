"""Dynamic Ablation: rule-guided, decision-based attribution."""
