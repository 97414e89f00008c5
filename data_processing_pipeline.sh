#!/usr/bin/env bash
# Turns a folder of raw videos into training clips; every argument goes to preprocess/pipeline.py (--help lists them):
#
#   ./data_processing_pipeline.sh --input_dir RAW --output_dir OUT
#   ./data_processing_pipeline.sh --input_dir RAW --output_dir OUT --config configs/preprocess/demo.yaml --dry_run
#
# The same command again goes on where the last run stopped. The clips end in OUT/high_visual_quality, with lists for
# training beside them; `python -m preprocess.report OUT` shows what became of the others (docs/data.md).
set -eu
. "$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd -P)/scripts/environment.sh"
exec "$python" -m preprocess.pipeline "$@"
