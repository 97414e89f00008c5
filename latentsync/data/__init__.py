"""Training data: clips on disk, their cached features, and items that are functions of (index, epoch, seed)."""
