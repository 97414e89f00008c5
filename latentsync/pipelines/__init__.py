"""The lip-sync pipeline, which combines media, faces, audio and models."""
