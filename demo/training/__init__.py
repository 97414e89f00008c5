"""Training of the demo's small networks on synthetic talking heads; see `python -m demo.training --help`.

Each network has a module `<network>.py` with its root configuration, its step for the general trainer, its validator
and a `DemoNetwork` that joins them. The sizes suit minutes of training on a few CPU cores. The demo's U-Net and SyncNet
are trained by train_unet.sh and train_syncnet.sh, like the published ones.
"""
