"""Frozen networks that supervise or measure (video features, perceptual distance, quality, sync), and crop metrics."""
