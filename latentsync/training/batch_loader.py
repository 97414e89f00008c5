"""Batches from a dataset, each process its own share, from any batch on."""

import signal
from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol, cast

import torch
from torch.utils.data import DataLoader

from latentsync.data.batching import StepSampler
from latentsync.errors import LatentSyncError
from latentsync.training.interrupts import SIGNALS

_FROM_WORKER = "Caught "
Batch = dict[str, Any]
Collate = Callable[[Sequence[Any]], Batch]


class SizedDataset(Protocol):
    """A map-style dataset whose items are functions of their keys."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any) -> Any: ...


def batches(
    dataset: SizedDataset, collate: Collate, sampler: StepSampler, num_workers: int, device: torch.device
) -> Generator[Batch, None, None]:
    """Yields the sampler's batches on `device`; the same ones with any number of workers.

    Workers are started afresh (not forked), so the dataset and `collate` must be picklable; no decoder or thread of
    this process leaks into them. The process' own generators are not touched.

    Raises:
        LatentSyncError: an item cannot be made; the message is its own, whichever process it comes from.
    """
    loader: DataLoader[Any] = DataLoader(
        cast(Any, dataset),
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        multiprocessing_context="spawn" if num_workers else None,
        persistent_workers=num_workers > 0,
        worker_init_fn=ignore_signals if num_workers else None,
        pin_memory=device.type not in ("cpu", "mps"),
        generator=torch.Generator().manual_seed(sampler.seed),
    )
    try:
        for batch in loader:
            yield {name: _moved(value, device) for name, value in batch.items()}
    except LatentSyncError as error:
        raise type(error)(_own_words(error)) from error


def _own_words(error: LatentSyncError) -> str:
    """What an error says, without the traceback that a worker puts before it."""
    text = str(error)
    if not text.startswith(_FROM_WORKER):
        return text
    return text.strip().splitlines()[-1].partition(f"{type(error).__name__}: ")[2]


def ignore_signals(worker: int) -> None:
    """Leaves signals that reach the whole process group to the training process, which saves first."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
