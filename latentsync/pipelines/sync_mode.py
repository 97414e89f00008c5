"""Lengths of video and speech that differ (`LipsyncOptions.sync_mode`): which frames are read, repeated and written."""

from latentsync.media.repeated_reader import Repeat
from latentsync.pipelines.options import SYNC_MODES, LipsyncOptions

_REPEATS = dict.fromkeys(SYNC_MODES, Repeat.BOUNCE) | {"loop": Repeat.LOOP, "freeze": Repeat.FREEZE}


def repeat_of(options: LipsyncOptions) -> Repeat:
    """Return what follows the last frame of a video that is shorter than the speech."""
    return repeat_by_name(options.sync_mode, options.exact)


def repeat_by_name(sync_mode: str, exact: bool) -> Repeat:
    """Return `repeat_of` for the values of the two options, such as those of a record.

    Raises:
        KeyError: there is no such mode.
    """
    return Repeat.BOUNCE_TWICE if exact else _REPEATS[sync_mode]


def max_source_frames(options: LipsyncOptions, num_speech_frames: int) -> int | None:
    """Return the number of source frames after which no frame is shown; None if the whole video is."""
    return None if options.sync_mode == "silence" else num_speech_frames


def result_length(options: LipsyncOptions, num_source_frames: int, num_speech_frames: int) -> int:
    """Return the length of the result in frames.

    Args:
        options: `sync_mode`.
        num_source_frames: frames that were read, up to `max_source_frames`.
        num_speech_frames: length of the speech in frames.
    """
    if options.sync_mode == "cut":
        return min(num_source_frames, num_speech_frames)
    if options.sync_mode == "silence":
        return max(num_source_frames, num_speech_frames)
    return num_speech_frames
