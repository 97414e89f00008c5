"""Run the sections, each in its own process within its share of the time; a failed one does not stop the others."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection

from benchmarks.gpu_report.section import FAILED, MEASURED, NOT_MEASURED, Row, Section, SectionResult, Setup
from benchmarks.measurement import free_unused_memory, reset_peak_memory

_OVERRUN = 1.5
"""A section is stopped after this many times its share of the time: a case that has started may exceed the share."""
_OUT_OF_TIME = "the time budget is used up: give more --minutes"

Report = Callable[[SectionResult], None]


def run_sections(
    sections: Sequence[Section], setup: Setup, seconds: float, one_process: bool, report: Report
) -> list[SectionResult]:
    """Measure all sections; time that one does not use is given to the later ones.

    Args:
        sections: sections in order.
        setup: sizes and device.
        seconds: total time.
        one_process: True to run them in this process, where a crash ends everything and no section is stopped.
        report: called with each result.
    """
    end = time.monotonic() + seconds
    results = []
    for number, section in enumerate(sections):
        left = max(end - time.monotonic(), 0.0)
        budget = left * section.share / sum(later.share for later in sections[number:])
        start = time.monotonic()
        if one_process or budget <= 0:  # without time every case is "not measured", so no process is started
            rows = list(measured_rows(section, setup, budget))
        else:
            rows = run_apart(section, setup, budget, min(left, _OVERRUN * budget))
        results.append(SectionResult(section, rows, time.monotonic() - start))
        report(results[-1])
    return results


def measured_rows(section: Section, setup: Setup, budget: float) -> Iterator[Row]:
    """Measure the cases of a section in this process; none is started after `budget` seconds."""
    end = time.monotonic() + budget
    try:
        for case in section.cases(setup):
            if time.monotonic() >= end:
                yield Row(case.name, NOT_MEASURED, reason=_OUT_OF_TIME)
                continue
            try:
                free_unused_memory(setup.device)
                reset_peak_memory(setup.device)
                yield Row(case.name, MEASURED, dict(case.run()))
            except Exception as error:  # an error in one case must not stop the others
                yield Row(case.name, FAILED, reason=error_line(error))
    except Exception as error:
        yield Row("the section", FAILED, reason=error_line(error))


def error_line(error: BaseException) -> str:
    """Return an error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def run_apart(section: Section, setup: Setup, budget: float, stop_after: float) -> list[Row]:
    """Run `measured_rows` in a new process, so that crashes and device memory are confined to it.

    Args:
        section: its `cases` is a function of a module.
        setup: sizes and device.
        budget: no case is started after this many seconds.
        stop_after: the process is killed after this many seconds, not counting its start.

    Returns:
        The rows that the process sent, followed by a failed one if it was killed or crashed.
    """
    context = multiprocessing.get_context(
        "spawn"
    )  # a forked process cannot use CUDA after its parent has initialized it
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_rows, args=(sender, section, setup, budget), daemon=True)
    process.start()
    sender.close()
    rows: list[Row] = []
    try:
        receiver.recv()
        end = time.monotonic() + stop_after
        while receiver.poll(max(end - time.monotonic(), 0.0)):
            row = receiver.recv()
            if row is None:
                return rows
            rows.append(row)
        rows.append(Row(_after(rows), FAILED, reason=f"stopped after {stop_after:.0f} s, the section's time"))
    except EOFError:
        process.join()
        rows.append(Row(_after(rows), FAILED, reason=f"its process ended with status {process.exitcode}"))
    finally:
        process.kill()
        process.join()
        receiver.close()
    return rows


def _after(rows: Sequence[Row]) -> str:
    """Describe the case that was running when the process ended."""
    return f"the case after {rows[-1].case!r}, and all later ones" if rows else "the first case, and all later ones"


def _send_rows(sender: Connection, section: Section, setup: Setup, budget: float) -> None:
    sender.send("the imports are done")
    for row in measured_rows(section, setup, budget):
        sender.send(row)
    sender.send(None)
