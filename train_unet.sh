#!/usr/bin/env bash
# Trains the lip-sync U-Net; all arguments are passed to scripts/train_unet.py (see --help):
#
#   ./train_unet.sh --config configs/unet/stage2.yaml data.train_clips=CLIPS training.run_dir=runs/mine
#   ./train_unet.sh --config configs/unet/stage2.yaml data.train_clips=CLIPS --dry_run
#
# The same command resumes an interrupted run. On several GPUs or machines, let torchrun or accelerate start
# `-m scripts.train_unet` with the same arguments (docs/training.md).
set -eu
. "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/scripts/environment.sh"
run_module scripts.train_unet "$@"
