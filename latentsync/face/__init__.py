"""Faces: find, follow, align, cover the mouth, and paste the generated one back."""
