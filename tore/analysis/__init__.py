"""What networks cost and what they reach: cost, benchmark, ablation, tables."""
