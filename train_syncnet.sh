#!/usr/bin/env bash
# Trains a SyncNet; every argument goes to scripts/train_syncnet.py (--help lists them):
#
#   ./train_syncnet.sh --config configs/syncnet/syncnet_16_pixel_attn.yaml data.train_clips=CLIPS \
#       data.validation_clips=HELD_OUT training.run_dir=runs/mine
#   ./train_syncnet.sh --config configs/syncnet/syncnet_16_pixel_attn.yaml data.train_clips=CLIPS \
#       data.validation_clips=HELD_OUT --dry_run
#
# The same command again goes on where the last run stopped. On several GPUs or machines, have torchrun or accelerate
# start `-m scripts.train_syncnet` with the same arguments.
set -eu
. "$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd -P)/scripts/environment.sh"
exec "$python" -m scripts.train_syncnet "$@"
