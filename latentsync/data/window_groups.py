"""Several windows of one clip as one item, so that a step can compare every picture with every sound of a clip."""

from typing import Any, Protocol

from latentsync.data.collate import collate
from latentsync.data.item_key import ItemKey


class WindowDataset(Protocol):
    """A map-style dataset of single windows (`latentsync.data.syncnet_dataset.SyncNetDataset`)."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: ItemKey) -> dict[str, Any]: ...


class WindowGroups:
    """Puts `windows_per_clip` windows of a clip into one item; its arrays gain a first dimension of that length.

    Window j of item (index, epoch) is item (index, epoch * windows_per_clip + j) of the dataset beneath, so an item
    stays a pure function of its key, and no window is drawn twice.
    """

    def __init__(self, windows: WindowDataset, windows_per_clip: int) -> None:
        if windows_per_clip < 1:
            raise ValueError(f"windows_per_clip is at least 1, not {windows_per_clip}")
        self.windows = windows
        self.windows_per_clip = windows_per_clip

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, key: ItemKey) -> dict[str, Any]:
        first = key.epoch * self.windows_per_clip
        items = [self.windows[ItemKey(key.index, first + number)] for number in range(self.windows_per_clip)]
        group = collate(items)
        return group | {"clip": items[0]["clip"], "seed": items[0]["seed"]}
