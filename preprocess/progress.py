"""Progress bars of a run, and the table of clip counts at its end."""

import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from preprocess.store.manifest import Manifest
from preprocess.store.records import Counts, Status

_TERMINAL_INTERVAL_S = 0.1
_FILE_INTERVAL_S = 30.0
"""Update interval if standard error is not a terminal: every update is then a line in a file."""
_BAR_FORMAT = "{desc}: {n_fmt}/{total_fmt} clips [{elapsed}<{remaining}, {rate_noinv_fmt}]{postfix}"


class Progress:
    """Progress bars on standard error: clips per second, time left, and numbers of kept, rejected and failed clips.

    Clips recorded by an earlier run are counted, but not in the speed.

    Args:
        is_shown: False to show nothing.
    """

    def __init__(self, is_shown: bool = True) -> None:
        # A signal that stops the run may arrive inside tqdm. tqdm's own pair of locks may then stay half acquired, and
        # closing the bar would wait for ever. A single lock, implemented in C, is either acquired or not.
        tqdm.set_lock(threading.RLock())
        tqdm.monitor_interval = 0
        self._is_shown = is_shown
        self._bar: tqdm | None = None
        self._counts: Counter[Status] = Counter()

    @contextmanager
    def step(self, title: str, num_clips: int) -> Iterator[None]:
        """Show the bar of a step over this many clips."""
        self._counts.clear()
        if not self._is_shown:
            yield
            return
        interval_s = _TERMINAL_INTERVAL_S if sys.stderr.isatty() else _FILE_INTERVAL_S
        self._bar = tqdm(
            total=num_clips, desc=title, unit=" clips", smoothing=0, mininterval=interval_s, bar_format=_BAR_FORMAT
        )
        try:
            yield
        finally:
            self._bar.close()
            self._bar = None

    def count_recorded(self, status: Status) -> None:
        """Count a clip that was recorded by an earlier run."""
        if self._bar is not None:
            self._bar.initial += 1
        self.count(status)

    def count(self, status: Status) -> None:
        """Count a finished clip."""
        self._counts[status] += 1
        if self._bar is not None:
            done, rejected, failed = (self._counts[each] for each in ("done", "rejected", "failed"))
            self._bar.set_postfix_str(f"{done} kept, {rejected} rejected, {failed} failed", refresh=False)
            self._bar.update()


def funnel_lines(manifests: Iterable[Manifest]) -> list[str]:
    """Return one line per step with the numbers of input and output clips and the reasons of the others."""
    lines = []
    num_failed = 0
    for manifest in manifests:
        step, counts = manifest.step, manifest.counts()
        if step is None:
            continue
        num_failed += counts.num_failed
        note = " (skipped: clips pass)" if step.skipped else "" if manifest.is_complete else " (not finished)"
        lines.append(f"{step.number} {step.name:<9} {_describe(counts)}{note}")
    if num_failed:
        lines.append(f"{num_failed} failed clips are missing; --retry_failed tries them again")
    return lines


def _describe(counts: Counts) -> str:
    text = f"{counts.num_rows:>8} in {counts.num_outputs:>8} out"
    for status in ("rejected", "failed"):
        reasons = [
            f"{number} {reason}" for (which, reason), number in sorted(counts.reasons.items()) if which == status
        ]
        if reasons:
            text += f"; {status}: {', '.join(reasons)}"
    return text
