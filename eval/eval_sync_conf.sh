#!/usr/bin/env bash
# Measure the sync confidence (LSE-C) of videos; all arguments go to eval/eval_sync_conf.py (--help lists them):
#
#   ./eval/eval_sync_conf.sh --videos results/
#   ./eval/eval_sync_conf.sh --videos result.mp4 --scorer stable_sync
set -eu
. "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/../scripts/environment.sh"
run_module eval.eval_sync_conf "$@"
