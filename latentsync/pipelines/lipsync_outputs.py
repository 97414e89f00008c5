"""The files that one lip-sync job writes, checked before the work starts.

The user names the video, which is replaced if it exists. The names of the files beside it are derived from that name,
so an existing one is replaced only if its metadata shows that this program made it.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from latentsync.errors import InputError, LatentSyncError
from latentsync.media.probe import probe_streams
from latentsync.media.writer import COPIED_CODECS, MADE_BY
from latentsync.pipelines.video_maker import is_record
from latentsync.storage.output_file import check_no_inputs, check_writable

RECORD_SUFFIX = ".lipsync.json"
"""Appended to the name of a result of a list: the record of how it was made."""

_REMEDY = "choose another --video_out_path"


@dataclass(frozen=True)
class LipsyncOutputs:
    """Files that one lip-sync job writes.

    Attributes:
        video: the result, as named by the user.
        sheet: contact sheet.
        comparison: source and result side by side, if requested.
        record: record of a job of a list.
    """

    video: Path
    sheet: Path
    comparison: Path | None = None
    record: Path | None = None

    @classmethod
    def of(cls, video: Path, compare: bool, with_record: bool = False) -> "LipsyncOutputs":
        """Return the files that belong to a result.

        Raises:
            InputError: the path is not that of a video that can be written.
        """
        if "\0" in str(video):
            raise InputError(f"the output {str(video)!r} is not a valid file name: {_REMEDY}")
        if video.name in ("", "..") or os.path.isdir(video):
            raise InputError(f"the output {video} is a folder: name a file such as {video / 'video_out.mp4'}")
        if video.suffix.lower() not in COPIED_CODECS:
            raise InputError(f"{video} cannot be written: name an output that ends in .mp4, .mov or .mkv")
        return cls(
            video,
            video.with_name(f"{video.stem}_sheet.png"),
            video.with_name(f"{video.stem}_compare{video.suffix}") if compare else None,
            video.with_name(video.name + RECORD_SUFFIX) if with_record else None,
        )

    def beside(self) -> list[Path]:
        """Return the files whose names are derived from that of the video."""
        return [path for path in (self.sheet, self.comparison, self.record) if path is not None]

    def all(self) -> list[Path]:
        """Return the video and the files beside it."""
        return [self.video, *self.beside()]

    def check(self, inputs: Iterable[Path]) -> None:
        """Check everything that can be checked before the work starts; leave nothing behind.

        Args:
            inputs: all files that the job reads.

        Raises:
            InputError: a file is an input, a folder, not made by this program, or its folder is not writable.
        """
        for path in self.all():
            check_writable(path, _REMEDY)
        check_no_inputs(self.all(), inputs, "--video_out_path")
        for path in self.beside():
            if os.path.lexists(path) and not _was_made_here(path):
                raise InputError(f"{path} exists and was not made by this program: move it, or {_REMEDY}")


def check_distinct(all_outputs: Sequence[LipsyncOutputs], inputs: Iterable[Path], where: str) -> None:
    """Check that the jobs of a list do not overwrite each other's files.

    Args:
        all_outputs: outputs of each job.
        inputs: inputs of all jobs.
        where: the list, for the message.

    Raises:
        InputError: two jobs write to one file, or one overwrites an input of another.
    """
    read = {_resolved(path) for path in inputs}
    written: dict[Path, Path] = {}
    for outputs in all_outputs:
        for path in outputs.all():
            resolved = _resolved(path)
            if resolved in read:
                raise InputError(f"{where}: {path} is also an input: choose another video_out_path")
            if resolved in written:
                raise InputError(
                    f"{where}: two jobs write to {path} ({written[resolved].name} and {outputs.video.name}): give each "
                    "its own video_out_path"
                )
            written[resolved] = outputs.video


def _was_made_here(path: Path) -> bool:
    """Return True if the metadata of a file beside a result shows that this program made it."""
    try:
        if path.suffix == ".png":
            with Image.open(path) as image:
                return image.info.get("Software") == MADE_BY
        if path.suffix == ".json":
            return is_record(path)
        tags = probe_streams(path).get("format", {}).get("tags", {})
        return MADE_BY in (tags.get("comment"), tags.get("COMMENT"))
    except (OSError, ValueError, SyntaxError, LatentSyncError, Image.DecompressionBombError):
        return False


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path.absolute()
