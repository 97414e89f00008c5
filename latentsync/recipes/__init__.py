"""Typed root configurations and what is built from them."""
