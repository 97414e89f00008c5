#!/usr/bin/env bash
# Makes the lips of a video follow a speech file; every argument goes to scripts/inference.py (--help lists them):
#
#   ./inference.sh --video_path VIDEO --audio_path SPEECH --video_out_path RESULT
#
# Without arguments it takes the bundled demo. It runs in the folder it is called from, so relative paths mean what
# they say there. It uses the active virtual environment, else .venv beside this file, else python3.
set -eu
. "$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd -P)/scripts/environment.sh"
exec "$python" -m scripts.inference "$@"
