#!/usr/bin/env bash
# The GPU report on a machine with a card, torch, transformers and accelerate, but no network.
#
# Fill a folder on a machine with a network. Wheels are for the Python of the other one, here 3.12 on Linux x86-64:
#   python -m pip wheel --no-deps -c constraints.txt -w .whl openai-whisper python_speech_features
#   python -m pip download --no-deps -c constraints.txt --only-binary=:all: --python-version 3.12 --implementation cp \
#     --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 -d .whl \
#     diffusers importlib-metadata zipp omegaconf lpips facenet-pytorch scenedetect platformdirs
# Name more packages where the report says "No module named"; one version of each. Programs named ffmpeg and ffprobe in
# the same folder (static builds) are used too, and then the whole published path is measured as well.
#
# Use: benchmarks/gpu_machine.sh [folder, default .whl] [arguments of benchmarks.gpu_report]
# The report goes to $OUT, or to runs/gpu_report where OUT is not set.
set -eu -o pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

folder=".whl"
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
    folder="$1"
    shift
fi
out="${OUT:-runs/gpu_report}"
installed="$(mktemp -d)"
trap 'rm -rf -- "$installed"' EXIT
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1

if [ -d "$folder" ]; then
    folder="$(cd -- "$folder" && pwd)"
    wheels=("$folder"/*.whl)
    if [ -e "${wheels[0]}" ]; then
        python3 -m pip install -q --no-index --no-deps --no-compile --target "$installed/packages" "${wheels[@]}"
    fi
    for program in ffmpeg ffprobe; do
        if [ -f "$folder/$program" ]; then
            mkdir -p "$installed/bin"
            cp -- "$folder/$program" "$installed/bin/"
            chmod +x "$installed/bin/$program"
        fi
    done
fi
export PYTHONPATH="$PWD:$installed/packages${PYTHONPATH:+:$PYTHONPATH}" PATH="$installed/bin:$PATH"

status=0
python3 -m benchmarks.gpu_report --out "$out" "$@" || status=$?
if [ -f "$installed/bin/ffmpeg" ] && [ -f "$installed/bin/ffprobe" ]; then
    python3 -m benchmarks.published_path --out "$out" || status=$?
fi
exit "$status"
