"""Frozen networks that measure: video features, perceptual distance, sync."""
