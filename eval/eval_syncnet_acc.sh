#!/usr/bin/env bash
# Measure a SyncNet on held-out clips; all arguments go to eval/eval_syncnet_acc.py (--help lists them):
#
#   ./eval/eval_syncnet_acc.sh --config configs/demo/syncnet.yaml --checkpoint checkpoints/demo/stable_syncnet.pt \
#       --clips data/val
set -eu
. "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../scripts/environment.sh"
run_module eval.eval_syncnet_acc "$@"
