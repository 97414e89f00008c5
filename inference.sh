#!/usr/bin/env bash
# Makes the lips of a video follow a speech file; every argument goes to scripts/inference.py (--help lists them):
#
#   ./inference.sh --video_path VIDEO --audio_path SPEECH --video_out_path RESULT
#
# Without arguments it takes the bundled demo. It runs in the folder it is called from, so relative paths mean what
# they say there. It uses the active virtual environment, else .venv beside this file, else python3.
set -eu
root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd -P)"

python=python3
for environment in "${VIRTUAL_ENV:-/nowhere}" "$root/.venv"; do
    if [ -x "$environment/bin/python" ]; then
        python="$environment/bin/python"
        break
    fi
done

# The safe path keeps files that lie in the caller's folder from being imported in place of ours.
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONSAFEPATH=1

# Threads that wait give their core away: the stages of the pipeline and ffmpeg share it (beside other work the face was
# found 3 times faster so).
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-PASSIVE}"
exec "$python" -m scripts.inference "$@"
