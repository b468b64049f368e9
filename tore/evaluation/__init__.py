"""Metrics in millimetres and the evaluator that sums them over processes."""
