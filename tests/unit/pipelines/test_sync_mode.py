import pytest

from latentsync.media.repeated_reader import Repeat
from latentsync.pipelines.options import PUBLISHED, SYNC_MODES, LipsyncOptions
from latentsync.pipelines.sync_mode import max_source_frames, repeat_of, result_length


@pytest.mark.parametrize(
    ("mode", "shorter", "longer"),
    [("bounce", 30, 30), ("loop", 30, 30), ("freeze", 30, 30), ("cut", 20, 30), ("silence", 30, 50)],
)
def test_lengths(mode: str, shorter: int, longer: int) -> None:
    """Speech of 30 frames with videos of 20, 30 and 50 frames."""
    options = LipsyncOptions(sync_mode=mode)
    limit = max_source_frames(options, 30)
    lengths = [result_length(options, num if limit is None else min(num, limit), 30) for num in (20, 30, 50)]
    assert lengths == [shorter, 30, longer]


def test_repeats() -> None:
    assert [repeat_of(LipsyncOptions(sync_mode=mode)) for mode in SYNC_MODES] == [
        *(Repeat.BOUNCE, Repeat.LOOP, Repeat.BOUNCE, Repeat.FREEZE, Repeat.BOUNCE)
    ]
    assert repeat_of(LipsyncOptions(exact=True, **PUBLISHED)) is Repeat.BOUNCE_TWICE  # type: ignore[arg-type]
