"""Synthetic talking heads with exact ground truth: identities, speech, mouth tracks, rendering and data sets."""
