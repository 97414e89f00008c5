"""Trains the demo weights on synthetic talking heads; run it with `python -m latentsync.demo_training MODEL --help`.

One file per model (audio encoder, VAE, mouth reader, U-Net, SyncNet) builds it, defines its loss and stores it in the
published format; the loop, the optimizer and the clips are shared. Made for minutes on a few CPU cores.
"""
