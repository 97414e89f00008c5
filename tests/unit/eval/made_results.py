"""Results made by hand."""

from collections.abc import Mapping

from eval.metrics.metric import Quantity
from eval.results import MetricRecord, Results, SetRecord, VideoRecord

SCORE = Quantity("score", "", True, "higher is better")
ERROR = Quantity("error", "dB", False, "lower is better")
OFFSET = Quantity("offset", "frames", None, "best is zero", 0.0)
WHOLE = Quantity("whole", "", False, "of a set")


def made_results(rows: Mapping[str, Mapping[str, Mapping[str, float]]], version: int = 1, source: str = "s") -> Results:
    """Results of one protocol from rows -> names -> values."""
    metrics = [
        MetricRecord(
            "hand", version, "made by hand", "Published | otherwise.", [SCORE, ERROR, OFFSET], {"w.pt": "1"}, False
        ),
        MetricRecord("set", 1, "of a row", "None.", [WHOLE], {}, True),
    ]
    videos = [
        VideoRecord("cross_audio", row, name, {"result": row + name, "source": source + name}, None, 25, dict(values))
        for row, names in rows.items()
        for name, values in names.items()
    ]
    sets = [SetRecord("cross_audio", row, "set", 2, 50, 50, {"whole": float(len(row))}, "too few") for row in rows]
    run = {"seed": 0, "interval": "95% percentile bootstrap", "detector": "told", "crop_resolution": 64}
    return Results(run, metrics, videos, sets, [])
