"""Running ffmpeg to write a file, and knowing whether the disk took all of it."""

from collections.abc import Sequence

from latentsync.errors import ToolError
from latentsync.media.ffmpeg import finished_process, is_cut_short, last_words


def write_file(args: Sequence[str]) -> None:
    """Run ffmpeg to its end (`args[0]` is its name).

    Raises:
        ToolError: it is missing, failed, took too long, or could not write the end of a file; the message ends with its
            last words.
    """
    process = finished_process(args)
    complaint = process.stderr.decode(errors="replace")
    if process.returncode != 0 or is_cut_short(complaint):
        words = last_words(complaint.splitlines()) or f"exit status {process.returncode}"
        raise ToolError(f"{args[0]} failed: {words}")
