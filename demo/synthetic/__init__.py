"""Synthetic talking people with exact ground truth: speech, mouth tracks, identities, pictures and data sets."""
