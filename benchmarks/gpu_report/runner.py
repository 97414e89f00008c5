"""Runs the sections: each in a process of its own and within its share of the time; one that fails stops no other."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection

from benchmarks.device_measurement import free_unused_memory, reset_peak_memory
from benchmarks.gpu_report.section import FAILED, MEASURED, NOT_MEASURED, Row, Section, SectionResult, Setup

_OVERRUN = 1.5
"""A section is stopped when it has taken this many times its share: a case that has begun may need more."""
_OUT_OF_TIME = "the time budget was used up: give more --minutes"

Report = Callable[[SectionResult], None]


def run_sections(
    sections: Sequence[Section], setup: Setup, seconds: float, one_process: bool, report: Report
) -> list[SectionResult]:
    """Measures all sections; time that one leaves goes to those after it.

    Args:
        sections: in order.
        setup: sizes and device.
        seconds: for all of them.
        one_process: run them in this process, where a crash ends everything and nothing is stopped half-way.
        report: called with each result.
    """
    end = time.monotonic() + seconds
    results = []
    for number, section in enumerate(sections):
        left = max(end - time.monotonic(), 0.0)
        budget = left * section.share / sum(later.share for later in sections[number:])
        start = time.monotonic()
        if one_process or budget <= 0:  # without time every case is "not measured", which needs no process
            rows = list(measured_rows(section, setup, budget))
        else:
            rows = run_apart(section, setup, budget, min(left, _OVERRUN * budget))
        results.append(SectionResult(section, rows, time.monotonic() - start))
        report(results[-1])
    return results


def measured_rows(section: Section, setup: Setup, budget: float) -> Iterator[Row]:
    """Measures the cases of a section in this process; none is begun after `budget` seconds."""
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
            except Exception as error:  # whatever befalls one case, the others are still to be measured
                yield Row(case.name, FAILED, reason=error_line(error))
    except Exception as error:
        yield Row("the section", FAILED, reason=error_line(error))


def error_line(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def run_apart(section: Section, setup: Setup, budget: float, stop_after: float) -> list[Row]:
    """`measured_rows` in a fresh process: what befalls it, and what it leaves on the device, ends with it.

    Args:
        section: its `cases` is a function of a module.
        setup: sizes and device.
        budget: no case is begun after so many seconds.
        stop_after: the process is ended after so many; starting it does not count.

    Returns:
        The rows it sent before it ended; a failed one at their end where it was stopped or died.
    """
    context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA if its parent has looked for it
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
    """Words for the case that a process was at work on when it ended."""
    return f"the case after {rows[-1].case!r}, and all later ones" if rows else "the first case, and all later ones"


def _send_rows(sender: Connection, section: Section, setup: Setup, budget: float) -> None:
    sender.send("the imports are done")
    for row in measured_rows(section, setup, budget):
        sender.send(row)
    sender.send(None)
