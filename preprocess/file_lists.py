"""Lists of the finished clips for training: all clips, and a train/validation split by source video."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path

from latentsync.storage.atomic import atomic_write
from preprocess.store.keys import hash_of
from preprocess.store.manifest import Manifest

_FRACTION_DIGITS = 8


@dataclass(frozen=True)
class ListedClips:
    """Numbers of clips in the lists."""

    num_train: int
    num_validation: int


@dataclass(frozen=True)
class SourceSplit:
    """Selection of the source videos held out for validation.

    Every source has a fraction between 0 and 1 that depends only on its content and the seed. Sources below `share` are
    held out, so a source stays in its list while the dataset grows. If that would put all of two or more sources into
    one list, the source nearest to the border is moved to the other.

    Attributes:
        seed: a different seed gives a different split.
        share: share of the sources held out, 0 to 1; 0 holds out none.
        lowest, highest: lowest and highest fraction of the sources.
    """

    seed: int
    share: float
    lowest: float
    highest: float

    def holds_out(self, source: str) -> bool:
        """Return True if the clips of a source belong to the validation list."""
        fraction = source_fraction(source, self.seed)
        if self.share == 0 or fraction == self.highest:
            return False
        return fraction < self.share or fraction == self.lowest


def split_sources(sources: Iterable[str], seed: int, share: float) -> SourceSplit:
    """Return the split of these sources, which may be repeated."""
    lowest, highest = 1.0, 0.0
    for source in sources:
        fraction = source_fraction(source, seed)
        lowest, highest = min(lowest, fraction), max(highest, fraction)
    return SourceSplit(seed, share, lowest, highest)


def source_fraction(source: str, seed: int) -> float:
    """Return a pseudo-random number of a source, from 0 (included) to 1 (excluded)."""
    return int(hash_of("split", str(seed), source)[:_FRACTION_DIGITS], 16) / 16**_FRACTION_DIGITS


def write_file_lists(manifest: Manifest, folder: Path, seed: int, share: float) -> ListedClips:
    """Write ``all.txt``, ``train.txt`` and ``validation.txt``: one path per line, relative to their folder.

    Args:
        manifest: of the last step; its current outputs are listed in their order.
        folder: folder of the lists.
        seed, share: as in `SourceSplit`.
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
