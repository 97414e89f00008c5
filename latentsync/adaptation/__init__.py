"""Adapt the U-Net to one person: footage of the person, audio for it, a short training, and checks of its result."""
