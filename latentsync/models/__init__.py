"""The networks that carry the published weights: U-Net, SyncNet and VAE, and how their files are read."""
