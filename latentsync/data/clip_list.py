"""List the clips of a data set: a folder of videos, or a text file of paths."""

from pathlib import Path

from latentsync.errors import InputError

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v"})


def list_clips(source: Path) -> list[Path]:
    """Return the paths of all clips of a source, usable or not.

    Args:
        source: a folder, searched recursively (sorted by name; hidden files and folders are skipped), or a text file
            with one path per line, relative to the file's folder (in its order; empty lines, lines that start with #
            and repeated paths are skipped).

    Raises:
        InputError: the source does not exist, or contains no clip.
    """
    source = Path(source)
    if source.is_dir():
        clips = _clips_in_folder(source)
        remedy = f"put clips into it ({', '.join(sorted(VIDEO_SUFFIXES))}), or name another folder or list file"
    elif source.is_file():
        clips = _listed_clips(source)
        remedy = "write one path per line into it"
    else:
        raise InputError(f"{source} does not exist: name a folder of clips, or a text file with one path per line")
    if not clips:
        raise InputError(f"{source} contains no clip: {remedy}")
    return clips


def _clips_in_folder(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    visible = (path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted(visible)


def _listed_clips(file: Path) -> list[Path]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not a list of clips: write one path per line into a text file") from error
    names = (line.strip() for line in lines)
    return list(dict.fromkeys(file.parent / name for name in names if name and not name.startswith("#")))
