"""Run each section in a separate process within its share of the time; a failure does not stop the others."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection

from benchmarks.device_measurement import free_unused_memory, reset_peak_memory
from benchmarks.gpu_report.section import FAILED, MEASURED, NOT_MEASURED, Row, Section, SectionResult, Setup

_OVERRUN = 1.5
"""A section is stopped after this multiple of its share, because a case that has started may need more time."""
_OUT_OF_TIME = "the time budget was used up: give more --minutes"

Report = Callable[[SectionResult], None]


def run_sections(
    sections: Sequence[Section], setup: Setup, seconds: float, one_process: bool, report: Report
) -> list[SectionResult]:
    """Measure all sections; unused time of a section is added to the following ones.

    Args:
        sections: sections in the order of the report.
        setup: sizes and device.
        seconds: time for all sections together.
        one_process: run them in this process, in which a crash ends the report and no section is stopped early.
        report: function that receives each result.
    """
    end = time.monotonic() + seconds
    results = []
    for number, section in enumerate(sections):
        left = max(end - time.monotonic(), 0.0)
        budget = left * section.share / sum(later.share for later in sections[number:])
        start = time.monotonic()
        if one_process or budget <= 0:  # without time all cases are "not measured", which requires no process
            rows = list(measured_rows(section, setup, budget))
        else:
            rows = run_apart(section, setup, budget, min(left, _OVERRUN * budget))
        results.append(SectionResult(section, rows, time.monotonic() - start))
        report(results[-1])
    return results


def measured_rows(section: Section, setup: Setup, budget: float) -> Iterator[Row]:
    """Measure the cases of a section in this process; no case starts after `budget` seconds."""
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
            except Exception as error:  # a failure must not stop the other cases
                yield Row(case.name, FAILED, reason=error_line(error))
    except Exception as error:
        yield Row("the section", FAILED, reason=error_line(error))


def error_line(error: BaseException) -> str:
    """Return an error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def run_apart(section: Section, setup: Setup, budget: float, stop_after: float) -> list[Row]:
    """Call `measured_rows` in a new process, so that its crashes and its device memory end with it.

    Args:
        section: a section whose `cases` is a function of a module.
        setup: sizes and device.
        budget: seconds after which no case starts.
        stop_after: seconds after which the process is ended, without its start.

    Returns:
        The rows that the process sent; the last one is a failure if the process was stopped or died.
    """
    context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA if its parent has initialized it
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
    """Return the failure of the case that was running when the process ended."""
    return f"the case after {rows[-1].case!r}, and all later ones" if rows else "the first case, and all later ones"


def _send_rows(sender: Connection, section: Section, setup: Setup, budget: float) -> None:
    sender.send("the imports are done")
    for row in measured_rows(section, setup, budget):
        sender.send(row)
    sender.send(None)
