"""Noise, noise schedule and the sampling loop, for any network that predicts noise."""
