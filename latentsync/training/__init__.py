"""Training: one loop, and a small step object for each of the two models."""
