"""Evaluation of the demo weights on held-out synthetic clips, against fixed targets."""
