"""Which frame of its source a frame of a result shows: the order in which the source was repeated."""

from eval.pairs import Pair
from latentsync.errors import NotMeasured
from latentsync.media.repeated_reader import Repeat, source_index
from latentsync.pipelines.sync_mode import repeat_by_name
from latentsync.pipelines.video_maker import read_record

MAX_ROUNDED_FRAMES = 2
"""Frames by which a result may be longer than its source without a record: published lengths are rounded up by two."""


def repeat_of(pair: Pair) -> Repeat | None:
    """Return how the source of a pair was repeated, by the record of the generation; None without a record.

    Raises:
        NotMeasured: the record cannot be read, or does not tell.
    """
    if pair.report is None or not pair.report.is_file():
        return None
    try:
        options = (read_record(pair.report) or {})["settings"]["options"]
        return repeat_by_name(options.get("sync_mode", "bounce"), bool(options.get("exact", False)))
    except (KeyError, TypeError, AttributeError) as error:
        raise NotMeasured(f"the record {pair.report.name} does not tell how the source was repeated") from error


def shown_frame(index: int, num_source_frames: int, repeat: Repeat | None) -> int:
    """Return the source frame that a frame of the result shows.

    Args:
        index: frame of the result.
        num_source_frames: length of the source.
        repeat: from `repeat_of`.

    Raises:
        NotMeasured: the result is longer than the source, and nothing tells how that was repeated.
    """
    if repeat is None and index >= num_source_frames + MAX_ROUNDED_FRAMES:
        raise NotMeasured(
            "the result is longer than its source, and no record tells how that was repeated: name one in column report"
        )
    return source_index(index, num_source_frames, repeat or Repeat.FREEZE)
