#!/usr/bin/env bash
# Synchronizes the lips in a video with a speech file; all arguments are passed to scripts/inference.py (see --help):
#
#   ./inference.sh --video_path VIDEO --audio_path SPEECH --video_out_path RESULT
#
# Without arguments it uses the bundled demo. Relative paths are relative to the current folder. The script uses the
# active virtual environment, else .venv beside this file, else python3.
set -eu
. "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/scripts/environment.sh"
run_module scripts.inference "$@"
