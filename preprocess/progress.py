"""What a run shows: a bar for each step while it works, and the funnel at the end."""

import sys
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from preprocess.manifest import Manifest
from preprocess.records import Counts, Status

_SECONDS_BETWEEN_BARS = 0.1
_SECONDS_BETWEEN_LINES = 30.0
"""Where nobody looks on (no terminal), bars are lines in a file."""
_SHAPE = "{desc}: {n_fmt}/{total_fmt} clips [{elapsed}<{remaining}, {rate_noinv_fmt}]{postfix}"


class Progress:
    """Bars on stderr: clips per second, time left, and how many clips were kept, rejected and failed.

    Clips that an earlier run has recorded count, but not for the speed.

    is_shown: False shows nothing.
    """

    def __init__(self, is_shown: bool = True) -> None:
        # A signal that stops the run may arrive inside tqdm: one lock in C is taken or not, tqdm's own two may stay
        # half taken, and closing the bar would wait for ever.
        tqdm.set_lock(threading.RLock())
        tqdm.monitor_interval = 0
        self._is_shown = is_shown
        self._bar: tqdm | None = None
        self._counts: Counter[Status] = Counter()

    @contextmanager
    def step(self, title: str, num_clips: int) -> Iterator[None]:
        """The bar of a step over so many clips."""
        self._counts.clear()
        if not self._is_shown:
            yield
            return
        pause = _SECONDS_BETWEEN_BARS if sys.stderr.isatty() else _SECONDS_BETWEEN_LINES
        self._bar = tqdm(total=num_clips, desc=title, unit=" clips", smoothing=0, mininterval=pause, bar_format=_SHAPE)
        try:
            yield
        finally:
            self._bar.close()
            self._bar = None

    def passed_over(self, status: Status) -> None:
        """A clip was recorded before."""
        if self._bar is not None:
            self._bar.initial += 1
        self.ended(status)

    def ended(self, status: Status) -> None:
        """A clip came to its end."""
        self._counts[status] += 1
        if self._bar is not None:
            done, rejected, failed = (self._counts[each] for each in ("done", "rejected", "failed"))
            self._bar.set_postfix_str(f"{done} kept, {rejected} rejected, {failed} failed", refresh=False)
            self._bar.update()


def funnel_lines(manifests: Iterable[Manifest]) -> list[str]:
    """The way of the clips through the steps, a line each, for people to read."""
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
        lines.append(f"{num_failed} failed clips are left out; --retry_failed tries them again")
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
