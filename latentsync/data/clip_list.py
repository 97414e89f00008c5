"""Which clips there are: a folder of videos, or a text file that lists them."""

from pathlib import Path

from latentsync.errors import InputError

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v"})


def list_clips(source: Path) -> list[Path]:
    """Paths of all clips of a source, whether they can be used or not.

    Args:
        source: a folder, searched to its depths (by name; hidden files and folders are left out), or a text file with
            one path a line, relative to the file's folder (in its order; empty lines and lines with # are left out,
            a clip that is named twice counts once).

    Raises:
        InputError: there is no such file or folder, or it names no clip.
    """
    source = Path(source)
    if source.is_dir():
        clips = _clips_below(source)
        remedy = f"put clips there ({', '.join(sorted(VIDEO_SUFFIXES))}), or name another folder or list file"
    elif source.is_file():
        clips = _listed_clips(source)
        remedy = "write one path a line into it"
    else:
        raise InputError(f"{source} does not exist: name a folder of clips, or a text file with one path a line")
    if not clips:
        raise InputError(f"{source} names no clip: {remedy}")
    return clips


def _clips_below(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file())
    visible = (path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted(visible)


def _listed_clips(file: Path) -> list[Path]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not a list of clips: write one path a line into a text file") from error
    names = (line.strip() for line in lines)
    return list(dict.fromkeys(file.parent / name for name in names if name and not name.startswith("#")))
