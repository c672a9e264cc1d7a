"""The methods that Dynamic Ablation is compared with."""
