"""Networks with published weights: U-Net, SyncNet and VAE, and the loading of their files."""
