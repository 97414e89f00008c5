#!/usr/bin/env bash
# Turns a folder of raw videos into training clips; all arguments are passed to preprocess/pipeline.py (see --help):
#
#   ./data_processing_pipeline.sh --input_dir RAW --output_dir OUT
#   ./data_processing_pipeline.sh --input_dir RAW --output_dir OUT --config configs/preprocess/demo.yaml --dry_run
#
# The same command resumes an interrupted run. Finished clips are in OUT/high_visual_quality, with lists for training
# beside them; `python -m preprocess.report OUT` shows why the others were rejected (docs/data.md).
set -eu
. "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/scripts/environment.sh"
run_module preprocess.pipeline "$@"
