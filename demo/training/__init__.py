"""Trains the small networks of the demo on synthetic talking heads; `python -m demo.training --help`.

Each network has its step and its items for the general trainer, and a root configuration in `<network>_run.py`. Made
for minutes on a few CPU cores. The demo's U-Net and SyncNet are trained by the same scripts as the published ones.
"""
