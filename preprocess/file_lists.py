"""Lists of the finished clips for training: all of them, and a split in which a source is on one side only."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path

from latentsync.storage.atomic import atomic_write
from preprocess.keys import hash_of
from preprocess.manifest import Manifest

_FRACTION_DIGITS = 8


@dataclass(frozen=True)
class ListedClips:
    """How many clips are in each list."""

    num_train: int
    num_validation: int


@dataclass(frozen=True)
class SourceSplit:
    """Which source videos are held out for validation.

    Every source has a number from 0 to 1 that depends on nothing but its content and the seed; those below the share
    are held out, so a source keeps its side while the data grow. Where all sources would be on one side and there are
    two or more, the nearest one changes over.

    Attributes:
        seed: another one gives another split.
        share: of the sources that are held out, 0 to 1; 0 holds out none.
        least, most: the ends of the numbers that there are.
    """

    seed: int
    share: float
    least: float
    most: float

    def holds_out(self, source: str) -> bool:
        """Whether clips of the source belong to the validation list."""
        fraction = source_fraction(source, self.seed)
        if self.share == 0 or fraction == self.most:
            return False
        return fraction < self.share or fraction == self.least


def split_sources(sources: Iterable[str], seed: int, share: float) -> SourceSplit:
    """The split of these sources, which may come more than once."""
    least, most = 1.0, 0.0
    for source in sources:
        fraction = source_fraction(source, seed)
        least, most = min(least, fraction), max(most, fraction)
    return SourceSplit(seed, share, least, most)


def source_fraction(source: str, seed: int) -> float:
    """A number from 0 (included) to 1 (excluded) for a source, as good as random."""
    return int(hash_of("split", str(seed), source)[:_FRACTION_DIGITS], 16) / 16**_FRACTION_DIGITS


def write_file_lists(manifest: Manifest, folder: Path, seed: int, share: float) -> ListedClips:
    """Writes ``all.txt``, ``train.txt`` and ``validation.txt`` into a folder: a path a line, relative to it.

    manifest: of the last step; its current outputs are listed, in its order.
    """
    split = split_sources((clip.source for clip in manifest.iter_outputs()), seed, share)
    folder.mkdir(parents=True, exist_ok=True)
    num_train = num_validation = 0
    with ExitStack() as files:
        every, train, validation = (
            files.enter_context(files.enter_context(atomic_write(folder / f"{name}.txt")).open("w", encoding="utf-8"))
            for name in ("all", "train", "validation")
        )
        for clip in manifest.iter_outputs():
            line = f"{Path(relpath(clip.path, folder)).as_posix()}\n"
            every.write(line)
            if split.holds_out(clip.source):
                validation.write(line)
                num_validation += 1
            else:
                train.write(line)
                num_train += 1
    return ListedClips(num_train, num_validation)
