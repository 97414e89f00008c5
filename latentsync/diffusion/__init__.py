"""Diffusion: noise of the forward process, noise schedule and sampling loop, for any noise-predicting network."""
