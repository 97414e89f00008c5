#!/usr/bin/env bash
# Adapts the weights to one person by a short training; all arguments are passed to scripts/adapt.py (see --help):
#
#   ./adapt.sh --video talk.mp4 --out runs/anna
#   ./inference.sh --adapted runs/anna --video_path talk.mp4 --audio_path SPEECH --video_out_path RESULT
#
# The same command resumes an interrupted adaptation (docs/adapt.md).
set -eu
. "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/scripts/environment.sh"
run_module scripts.adapt "$@"
