"""What is run on failing disks, and what must be true of it at every write: nothing lost, one line, resumable."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tests.demo_weights import DEMO_RUN
from tests.faults.injector import FAULTS, Ended, Fault, Injector, digests

GIVEN, OUT, TEMPORARY = "given", "out", "temporary"
"""Folders of a scenario: what the user has, where results go, where temporary files go."""
_ID = re.compile(r"(?<=jobs/)[0-9a-f]{32}")
_LEFTOVER = re.compile(r"(^|/)\.latentsync-")


@dataclass(frozen=True)
class Scenario:
    """A command with its files.

    Attributes:
        command: of `tests.faults.commands`.
        prepare: makes the files in a folder.
        arguments: of the command in such a folder.
        results: patterns of the final results below `OUT`, which are equal in every run.
        others: patterns of other files that may lie there, such as records.
        again: further arguments of the second run; where there are any, a run may end with 0 and parts that failed.
        differing: patterns of results that name those parts, so that they differ then.
        left: below this folder anything may be left until it is old.
    """

    command: str
    prepare: Callable[[Path], None]
    arguments: Callable[[Path], list[str]]
    results: tuple[str, ...]
    others: tuple[str, ...] = ()
    again: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()
    left: str | None = None


@dataclass(frozen=True)
class Attempt:
    """One fault at one write, and what was wrong about how it was met (nothing where all promises hold)."""

    fault: Fault
    at: int
    ended: Ended
    broken_promises: list[str]


def _ffmpeg(*arguments: object) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def _talk(path: Path, seconds: float) -> None:
    moving = f"testsrc2=size=128x112:rate=25:duration={seconds}"
    sound = f"sine=frequency=220:duration={seconds}"
    _ffmpeg("-f", "lavfi", "-i", moving, "-f", "lavfi", "-i", sound, "-shortest", "-pix_fmt", "yuv420p", path)


def _prepare_inference(folder: Path) -> None:
    _talk(folder / GIVEN / "talk.mp4", 0.4)
    _ffmpeg("-f", "lavfi", "-i", "sine=frequency=330:duration=0.2", folder / GIVEN / "speech.wav")
    (folder / OUT / "result.mp4").write_bytes((folder / GIVEN / "talk.mp4").read_bytes())
    (folder / OUT / "notes.txt").write_text("the user's")


def _inference_arguments(folder: Path) -> list[str]:
    files = {
        "video_path": GIVEN + "/talk.mp4",
        "audio_path": GIVEN + "/speech.wav",
        "video_out_path": OUT + "/result.mp4",
    }
    named = [text for option, path in files.items() for text in (f"--{option}", str(folder / path))]
    return [*named, "--temp_dir", str(folder / TEMPORARY), "--compare", "--inference_steps", "1", *DEMO_RUN]


def _prepare_pipeline(folder: Path) -> None:
    for index in range(2):
        _talk(folder / GIVEN / f"talk{index}.mp4", 1.0 + 0.2 * index)
    (folder / GIVEN / "notes.txt").write_text("the user's")


def _pipeline_arguments(folder: Path) -> list[str]:
    quick = ["shots.min_frames=5", "segments.min_s=0.3", "segments.max_s=0.6", "skip_steps=[5,6,7,8]"]
    return ["--input_dir", str(folder / GIVEN), "--output_dir", str(folder / OUT), "--num_workers", "1", *quick]


def _prepare_app(folder: Path) -> None:
    _prepare_inference(folder)
    (folder / OUT / "result.mp4").unlink()


def _app_arguments(folder: Path) -> list[str]:
    return [str(folder / name) for name in (OUT, f"{GIVEN}/talk.mp4", f"{GIVEN}/speech.wav")]


_JOB = "latentsync-app/jobs/ID"


def _prepare_training(folder: Path) -> None:
    (folder / GIVEN / "notes.txt").write_text("the user's")
    (folder / OUT / "notes.txt").write_text("the user's")


def _prepare_adaptation(folder: Path) -> None:
    (folder / GIVEN / "talk.mp4").write_bytes(b"footage")
    (folder / GIVEN / "latentsync_unet.pt").write_bytes(b"adapted" * 1000)


SCENARIOS = {
    "inference": Scenario(
        "inference", _prepare_inference, _inference_arguments, ("result*.mp4", "result_sheet.png"), ("notes.txt",)
    ),
    "data pipeline": Scenario(
        "data pipeline",
        _prepare_pipeline,
        _pipeline_arguments,
        ("*/*/*.mp4", "high_visual_quality/*.txt"),
        ("manifest/*", "logs/*", ".latentsync.*"),
        ("--retry_failed",),
        differing=("high_visual_quality/*.txt",),
    ),
    "app": Scenario(
        "app",
        _prepare_app,
        _app_arguments,
        (f"{_JOB}/lipsync.mp4", f"{_JOB}/lipsync_compare.mp4", f"{_JOB}/lipsync_sheet.png"),
        ("notes.txt", "latentsync-app/*", "latentsync-app/.*", "latentsync-app/uploads/*/*", f"{_JOB}/*"),
        left=f"{OUT}/latentsync-app/jobs/",
    ),
    "training": Scenario(
        "training",
        _prepare_training,
        lambda folder: [str(folder / OUT / "run")],
        tuple(
            f"run/checkpoints/step_0000000[24]/{name}"
            for name in ("model.safetensors", "optimizer.bin", "scheduler.bin", "average_0.pt", "random_0.pt")
        ),
        (
            "notes.txt",
            "run/*",
            "run/charts/*.png",
            "run/tensorboard/*",
            "run/checkpoints/step_0000000[24]/*",
            "run/checkpoints/.step_0000000[24].partial/*",
        ),
    ),
    "adaptation": Scenario(
        "adaptation",
        _prepare_adaptation,
        lambda folder: [
            str(folder / name) for name in (f"{OUT}/anna", f"{GIVEN}/talk.mp4", f"{GIVEN}/latentsync_unet.pt")
        ],
        tuple(
            f"anna/{name}" for name in ("latentsync_unet.pt", "config.yaml", "report.md", "report.png", "adapt.json")
        ),
        ("anna/.latentsync.json",),
    ),
}


class Sweep:
    """Runs a scenario with faults at its writes.

    Args:
        injector: runs commands.
        scenario: which.
        folder: for the files of the runs.
    """

    def __init__(self, injector: Injector, scenario: Scenario, folder: Path) -> None:
        self._injector, self._scenario, self._folder = injector, scenario, folder.resolve()
        self._given = self._folder / "prepared"
        for name in (GIVEN, OUT, TEMPORARY):
            (self._given / name).mkdir(parents=True)
        scenario.prepare(self._given)
        self._before = digests(self._given)
        whole = self._run(self._fresh("whole"))
        if whole.code != 0:
            raise RuntimeError(f"{scenario.command} fails without any fault: {whole.err}")
        self.num_calls = whole.num_calls
        self._whole = self._results(self._folder / "whole")

    def points(self, num_points: int | None) -> Iterator[tuple[int, Fault]]:
        """So many points, evenly spread over the writes, each with one fault in turn; None: every fault everywhere."""
        if num_points is None:
            yield from ((at, fault) for at in range(1, self.num_calls + 1) for fault in FAULTS)
            return
        for index in range(num_points):
            yield 1 + index * (self.num_calls - 1) // max(1, num_points - 1), FAULTS[index % len(FAULTS)]

    def attempt(self, at: int, fault: Fault) -> Attempt:
        """Runs the command with a fault and again without, and looks whether the promises were kept."""
        folder = self._fresh("faulty")
        ended = self._run(folder, fault, at)
        broken = [*self._broken_at_end(ended, folder)]
        again = self._run(folder, more=self._scenario.again)
        broken += [f"afterwards: {text}" for text in self._broken_when_run_again(again, folder)]
        return Attempt(fault, at, ended, broken)

    def _run(self, folder: Path, fault: Fault | None = None, at: int = 0, more: Sequence[str] = ()) -> Ended:
        arguments = [*self._scenario.arguments(folder), *more]
        return self._injector.run(self._scenario.command, arguments, folder, fault, at)

    def _fresh(self, name: str) -> Path:
        folder = self._folder / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self._given, folder)
        return folder

    def _results(self, folder: Path) -> dict[str, str]:
        found = {_ID.sub("ID", name): digest for name, digest in digests(folder / OUT).items()}
        return {name: digest for name, digest in found.items() if self._is_result(name)}

    def _is_result(self, name: str) -> bool:
        return _matches(name, self._scenario.results) and not _LEFTOVER.search(name)

    def _broken_at_end(self, ended: Ended, folder: Path) -> Iterator[str]:
        yield from self._lost(folder)
        lines = [line for line in ended.err.replace("\r", "\n").splitlines() if line.startswith("error:")]
        if "Traceback" in ended.err:
            yield f"a traceback: {ended.err[-600:]}"
        elif ended.num_failed == 0:
            return
        elif ended.code not in (0, 1, 2):
            yield f"exit status {ended.code}: {ended.err[-300:]}"
        elif ended.code == 2 and len(lines) != 1:
            yield f"{len(lines)} error lines: {lines}"
        results = self._results(folder)
        if ended.code == 0 and self._scenario.again == () and results != self._whole:
            yield "exit status 0, but the results are not whole"
        for name, digest in results.items():
            known = (self._whole.get(name), self._before.get(f"{OUT}/{name}"))
            if digest not in known and not _matches(name, self._scenario.differing):
                yield f"{OUT}/{name} is neither whole nor what was there before"
        for name in (_ID.sub("ID", name) for name in digests(folder / OUT)):
            known = (*self._scenario.results, *self._scenario.others)
            if not _matches(name, known) and not _LEFTOVER.search(name):
                yield f"{OUT}/{name} is no file that should be there"

    def _broken_when_run_again(self, ended: Ended, folder: Path) -> Iterator[str]:
        yield from self._lost(folder)
        if ended.code != 0:
            yield f"exit status {ended.code}: {ended.err[-300:]}"
        elif self._results(folder) != self._whole:
            yield "the results are not those of an undisturbed run"
        kept = self._scenario.left or "/"
        left = [name for name in digests(folder) if _LEFTOVER.search(name) and not name.startswith(kept)]
        if left:
            yield f"left behind: {left}"

    def _lost(self, folder: Path) -> Iterator[str]:
        """Files of the user that are gone or changed; what a result may replace is looked at elsewhere."""
        now = digests(folder)
        for name, digest in self._before.items():
            if _matches(name.removeprefix(f"{OUT}/"), self._scenario.results) and name.startswith(OUT):
                if name not in now:
                    yield f"{name} is gone"
            elif now.get(name) != digest:
                yield f"{name} is gone or changed"


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(Path(name).match(pattern) and pattern.count("/") == name.count("/") for pattern in patterns)


def table(attempts: Mapping[str, Sequence[Attempt]], num_calls: Mapping[str, int]) -> str:
    """Counts as Markdown, and the first broken promises of each scenario."""
    lines = ["| what ran | writes | faults injected | ended with 0, 1, 2 | promises broken |", "|---|---|---|---|---|"]
    for name, tried in attempts.items():
        hit = [attempt for attempt in tried if attempt.ended.num_failed]
        ends = ", ".join(str(sum(attempt.ended.code == code for attempt in hit)) for code in (0, 1, 2))
        broken = [attempt for attempt in tried if attempt.broken_promises]
        lines.append(f"| {name} | {num_calls[name]} | {len(hit)} | {ends} | {len(broken)} |")
    for name, tried in attempts.items():
        for attempt in islice((one for one in tried if one.broken_promises), 20):
            what = "; ".join(attempt.broken_promises)
            lines.append(f"* {name}, {attempt.fault.name} at {attempt.at} ({attempt.ended.first}): {what}")
    return "\n".join(lines)
