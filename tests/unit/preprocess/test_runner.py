import multiprocessing
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
import torch

from latentsync.errors import InputError, LatentSyncError
from latentsync.executors.base import Failed, run_task
from preprocess.step import Clip, Done, Output, ProcessClip, StepResult
from preprocess.step_work import FinishedClip, StepWork, Task, process_task
from preprocess.store.manifest import Manifest
from preprocess.store.records import Row
from preprocess.store.workspace import open_workspace
from tests.fake_run import records, run_steps, tree, write_raw
from tests.fake_steps import SplitStep, fake_steps


@dataclass
class HereExecutor:
    """Runs tasks in this process and remembers them; clips named in `broken` fail."""

    broken: dict[str, Failed] = field(default_factory=dict)
    tasks: list[tuple[int, str]] = field(default_factory=list)

    def run(self, work: StepWork, tasks: Iterable[Task]) -> Iterator[FinishedClip]:
        process = work.load(torch.device("cpu"))
        for task in tasks:
            self.tasks.append((work.step.number, task.clip.name))
            failure = next((failure for name, failure in self.broken.items() if name in task.clip.name), None)
            yield run_task(process, task) if failure is None else FinishedClip(task, failure, 0.0)

    def count(self) -> list[int]:
        """Return the numbers of tasks of steps 1, 2 and 3 since the last call."""
        numbers = [number for number, _ in self.tasks]
        self.tasks.clear()
        return [numbers.count(number) for number in (1, 2, 3)]


@pytest.fixture
def executor() -> HereExecutor:
    return HereExecutor()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_raw(tmp_path / "raw", "one\ntwo", "reject", "keep\nthree")


def rows(root: Path, number: int) -> list[Row]:
    with Manifest.existing(root)[number - 1] as manifest:
        return list(manifest.iter_rows())


def test_places_of_the_outputs(raw: Path, tmp_path: Path, executor: HereExecutor) -> None:
    root = tmp_path / "out"
    run_steps(raw, root, executor)
    found = tree(root)
    sources = {row.name: row.source for row in rows(root, 1)}
    [(name, source)] = [(name, source) for name, source in sources.items() if name.startswith("video 0-")]
    assert name == f"video 0-{source[:8]}"
    parts = sorted(path for path in found if f"{name}_part0-" in path)
    assert [path.split("-")[0] for path in parts] == [f"split/{source[:2]}/video 0"] * 2 + [
        f"stamped/{source[:2]}/video 0"
    ]
    clip = next(clip for row in rows(root, 2) for clip in row.outputs if clip.name == f"{name}_part0")
    assert clip.path.name == f"{name}_part0-{clip.key[:8]}.mp4"
    assert clip.facts["note"] == str(clip.path.with_name(f"{clip.path.stem}.note.txt"))
    assert (clip.facts["line"], clip.facts["length"], clip.source) == (0, 7, source)
    assert len(found) == 4 * 2 + 4
    assert sorted(text for path, text in found.items() if path.startswith("stamped"))[-1] == b"word two word two"


def test_a_clip_that_needs_no_change_is_a_hard_link(raw: Path, tmp_path: Path, executor: HereExecutor) -> None:
    root = tmp_path / "out"
    run_steps(raw, root, executor)
    kept = next(row for row in rows(root, 3) if row.outputs[0].facts.get("kept"))
    assert os.path.samefile(kept.input_path, kept.outputs[0].path)


def test_a_copy_if_links_fail(
    raw: Path, tmp_path: Path, executor: HereExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", fail)
    root = tmp_path / "out"
    run_steps(raw, root, executor)
    kept = next(row for row in rows(root, 3) if row.outputs[0].facts.get("kept"))
    assert kept.input_path.read_bytes() == kept.outputs[0].path.read_bytes()
    assert not os.path.samefile(kept.input_path, kept.outputs[0].path)


def test_nothing_is_done_twice(raw: Path, tmp_path: Path, executor: HereExecutor) -> None:
    root = tmp_path / "out"
    run_steps(raw, root, executor)
    assert executor.count() == [3, 2, 4]
    before = tree(root), records(root)
    run_steps(raw, root, executor)
    assert executor.count() == [0, 0, 0]
    assert (tree(root), records(root)) == before


def test_a_changed_setting_redoes_its_step_and_what_follows(raw: Path, tmp_path: Path, executor: HereExecutor) -> None:
    root = tmp_path / "out"
    check, split, stamp = fake_steps()
    run_steps(raw, root, executor)
    executor.count()
    run_steps(raw, root, executor, fake_steps(word="new"))
    assert executor.count() == [0, 0, 4]
    assert len(rows(root, 3)) == 4
    run_steps(raw, root, executor, (check, SplitStep(replace(split.config, word="new")), stamp))
    assert executor.count() == [0, 2, 4]
    run_steps(raw, root, executor)
    assert executor.count() == [0, 0, 0], "the old results are still there"
    assert len(rows(root, 3)) == 4


def test_outputs_that_are_gone_are_made_again(raw: Path, tmp_path: Path, executor: HereExecutor) -> None:
    root = tmp_path / "out"
    run_steps(raw, root, executor)
    before = tree(root)
    executor.count()
    parts = [clip for row in rows(root, 2) for clip in row.outputs]
    parts[0].path.unlink()
    run_steps(raw, root, executor)
    assert executor.count() == [0, 1, 0]
    Path(str(parts[1].facts["note"])).unlink()
    run_steps(raw, root, executor)
    assert executor.count() == [0, 1, 0]
    stamped = next(clip for row in rows(root, 3) for clip in row.outputs if not clip.facts.get("kept"))
    stamped.path.write_text("cut")
    run_steps(raw, root, executor)
    assert executor.count() == [0, 0, 1]
    assert tree(root) == before


def test_failed_clips_are_retried_when_asked(raw: Path, tmp_path: Path, executor: HereExecutor) -> None:
    root = tmp_path / "out"
    executor.broken["video 0"] = Failed("crashed", "its worker died")
    run_steps(raw, root, executor)
    [row] = [row for row in rows(root, 1) if row.status == "failed"]
    assert (row.reason, row.detail, row.outputs) == ("crashed", "its worker died", ())
    executor.broken.clear()
    executor.count()
    run_steps(raw, root, executor)
    assert executor.count() == [0, 0, 0]
    run_steps(raw, root, executor, retry_failed=True)
    assert executor.count() == [1, 1, 2]


def test_rejected_and_raising_clips_are_recorded(tmp_path: Path, executor: HereExecutor) -> None:
    root = tmp_path / "out"
    run_steps(write_raw(tmp_path / "raw", "reject", "raise\nfine"), root, executor)
    rejected = next(row for row in rows(root, 1) if row.status == "rejected")
    assert (rejected.reason, rejected.detail, rejected.facts) == ("asked_for", "it said reject", {"length": 6})
    bad = next(row for row in rows(root, 3) if row.status == "failed")
    assert (bad.reason, bad.detail) == ("error", "ValueError: bad clip")
    assert bad.facts["line"] == 0


def test_equal_files_are_processed_once(tmp_path: Path, executor: HereExecutor) -> None:
    root, raw = tmp_path / "out", write_raw(tmp_path / "raw", "one", "two", "one", "reject", "reject")
    run_steps(raw, root, executor)
    assert executor.count() == [3, 2, 2]
    duplicates = [row for row in rows(root, 1) if row.reason == "duplicate"]
    assert sorted(row.input_path.name for row in duplicates) == ["video 2.mp4", "video 4.mp4"]
    assert f"the same content as {raw / 'video 0.mp4'}" in [row.detail for row in duplicates]
    before = records(root)
    run_steps(raw, root, executor)
    assert executor.count() == [0, 0, 0]
    assert records(root) == before


def test_a_moved_file_that_was_rejected_is_no_duplicate(tmp_path: Path, executor: HereExecutor) -> None:
    root, raw = tmp_path / "out", write_raw(tmp_path / "raw", "one", "reject", "reject")
    run_steps(raw, root, executor)
    moved = raw.rename(tmp_path / "renamed")
    run_steps(moved, root, executor)
    rejected = {row.reason: row for row in rows(root, 1) if row.status == "rejected"}
    assert rejected.keys() == {"asked_for", "duplicate"}
    assert rejected["asked_for"].input_path == moved / "video 1.mp4"
    assert rejected["duplicate"].input_path == moved / "video 2.mp4"


def test_a_moved_file_is_followed(raw: Path, tmp_path: Path, executor: HereExecutor) -> None:
    root = tmp_path / "out"
    run_steps(raw, root, executor)
    executor.count()
    (raw / "video 0.mp4").rename(raw / "renamed.mp4")
    run_steps(raw, root, executor)
    assert executor.count() == [1, 0, 0]
    assert raw / "renamed.mp4" in [row.input_path for row in rows(root, 1)]
    assert [row.reason for row in rows(root, 1) if row.status == "rejected"] == ["asked_for"]


def test_files_that_are_gone_are_no_longer_current(raw: Path, tmp_path: Path, executor: HereExecutor) -> None:
    root = tmp_path / "out"
    run_steps(raw, root, executor)
    (raw / "video 0.mp4").unlink()
    run_steps(raw, root, executor)
    assert [len(rows(root, number)) for number in (1, 2, 3)] == [2, 1, 2]


def test_an_unreadable_file_fails(tmp_path: Path, executor: HereExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    raw, root = write_raw(tmp_path / "raw", "one", "two"), tmp_path / "out"
    real = Path.open

    def refuse(path: Path, *arguments: str, **options: str) -> object:
        if path.name == "video 0.mp4":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)  # type: ignore[call-overload]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        run_steps(raw, root, executor)
    [row] = [row for row in rows(root, 1) if row.status == "failed"]
    assert row.reason == "unreadable"
    assert "Permission denied" in row.detail
    run_steps(raw, root, executor)
    assert [row.status for row in rows(root, 1)] == ["done", "done"]


def test_clips_pass_a_skipped_step(raw: Path, tmp_path: Path, executor: HereExecutor) -> None:
    root = tmp_path / "out"
    run_steps(raw, root, executor, skipped=(3,))
    assert executor.count() == [3, 2, 0]
    assert len([path for path in tree(root) if path.startswith("stamped")]) == 4
    for row in rows(root, 3):
        assert os.path.samefile(row.input_path, row.outputs[0].path)
        assert row.outputs[0].facts["line"] in (0, 1)
    with Manifest.existing(root)[2] as manifest:
        assert manifest.step is not None
        assert manifest.step.skipped
    run_steps(raw, root, executor)
    assert executor.count() == [0, 0, 4]


def test_some_steps_only(raw: Path, tmp_path: Path, executor: HereExecutor) -> None:
    root, uninterrupted = tmp_path / "out", tmp_path / "uninterrupted"
    with pytest.raises(InputError, match=r"step 1 check was not run .*--steps 1-1"):
        run_steps(raw, root, executor, numbers=(2,))
    run_steps(raw, root, executor, numbers=(1, 2))
    changed = (fake_steps()[0], SplitStep(replace(fake_steps()[1].config, word="new")), fake_steps()[2])
    with pytest.raises(InputError, match=r"step 2 split .* other settings .*--steps 1-2"):
        run_steps(raw, root, executor, changed, numbers=(3,))
    run_steps(raw, root, executor, numbers=(3,))
    run_steps(raw, uninterrupted, executor)
    assert tree(root) == tree(uninterrupted)


def test_a_full_disk_stops_the_run(raw: Path, tmp_path: Path, executor: HereExecutor) -> None:
    root = tmp_path / "out"
    executor.broken["video 0"] = Failed("no_space", "No space left on device")
    with pytest.raises(LatentSyncError, match=r"the disk is full: make room .*the same command resumes"):
        run_steps(raw, root, executor)
    executor.broken.clear()
    run_steps(raw, root, executor)
    assert {row.status for row in rows(root, 3)} == {"done"}


class Forgetful(SplitStep):
    """Returns an output that it did not write."""

    def process(self, clip: Clip, work: Path) -> StepResult:
        return Done((Output(work / "none.mp4"),))


class Unstorable(SplitStep):
    """Returns a fact that a manifest cannot store."""

    def process(self, clip: Clip, work: Path) -> StepResult:
        return Done((Output(facts={"tensor": torch.zeros(1)}),))  # type: ignore[dict-item]


@pytest.mark.parametrize(("kind", "detail"), [(Forgetful, "none.mp4 is missing"), (Unstorable, "TypeError")])
def test_a_step_with_a_fault_fails_its_clips(
    raw: Path, tmp_path: Path, executor: HereExecutor, kind: type[SplitStep], detail: str
) -> None:
    check, split, stamp = fake_steps()
    run_steps(raw, tmp_path / "out", executor, (check, kind(split.config), stamp))
    assert [(row.status, row.reason) for row in rows(tmp_path / "out", 2)] == [("failed", "error")] * 2
    assert all(detail in row.detail for row in rows(tmp_path / "out", 2))


def refused(root: Path, message: Path) -> None:
    try:
        with open_workspace(root):
            message.write_text("not refused")
    except InputError as error:
        message.write_text(str(error))


def test_two_runs_do_not_share_an_output_folder(tmp_path: Path) -> None:
    root, message = tmp_path / "out", tmp_path / "message"
    with open_workspace(root):
        other = multiprocessing.get_context("fork").Process(target=refused, args=(root, message))
        other.start()
        other.join()
        assert re.fullmatch(
            rf"{root} is in use by process {os.getpid()} on .*: wait for it, or .*", message.read_text()
        )
    refused(root, message)
    assert message.read_text() == "not refused"


def test_exceptions_become_failures_with_a_reason(tmp_path: Path) -> None:
    task = Task("key", Clip("k", "s", "n", tmp_path), tmp_path / "work")

    def process_that(error: Exception) -> ProcessClip:
        def process(clip: Clip, work: Path) -> StepResult:
            raise error

        return process

    full = OSError(28, "No space left on device", "x")
    cases = [
        (InputError("clip.mp4: cut it"), Failed("error", "clip.mp4: cut it")),
        (KeyError("x"), Failed("error", "KeyError: 'x'")),
        (MemoryError(), Failed("memory", "MemoryError")),
        (full, Failed("no_space", "OSError: [Errno 28] No space left on device: 'x'")),
        (
            LatentSyncError("ffmpeg failed: No space left on device"),
            Failed("no_space", "ffmpeg failed: No space left on device"),
        ),
    ]
    for error, failure in cases:
        assert run_task(partial(process_task, process_that(error)), task).result == failure
