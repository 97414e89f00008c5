#!/usr/bin/env bash
# Trains a SyncNet; all arguments are passed to scripts/train_syncnet.py (see --help):
#
#   ./train_syncnet.sh --config configs/syncnet/syncnet_16_pixel_attn.yaml data.train_clips=CLIPS \
#       data.validation_clips=HELD_OUT training.run_dir=runs/mine
#   ./train_syncnet.sh --config configs/syncnet/syncnet_16_pixel_attn.yaml data.train_clips=CLIPS \
#       data.validation_clips=HELD_OUT --dry_run
#
# The same command resumes an interrupted run. On several GPUs or machines, let torchrun or accelerate start
# `-m scripts.train_syncnet` with the same arguments.
set -eu
. "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/scripts/environment.sh"
run_module scripts.train_syncnet "$@"
