"""Default number of images per VAE batch; apart from the VAE, whose import takes a second."""

BATCH_SIZE = 8
