"""One video generated in segments by workers: the joined files, progress, workers that die, and Ctrl-C."""

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from latentsync.errors import InputError, LatentSyncError
from latentsync.executors.base import CRASHED, ERROR, Failed, FinishedTask, WhileWaiting, Work, do_nothing, run_task
from latentsync.executors.local import LocalExecutor
from latentsync.media import reader
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.probe import probe_streams, video_packets
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.segment_results import MAX_ATTEMPTS
from latentsync.pipelines.segment_workers import SegmentWorkers
from scripts.inference import build_parser, segment_executor
from tests.integration.test_front_of_faces import write_masks
from tests.integration.test_lipsync_pipeline import QUICK, face_is_shown, make_speech, make_video, read
from tests.tiny_pipeline import tiny_pipeline

OPTIONS = replace(QUICK, guidance_scale=1.0, compare=True)
NUM_FRAMES = 40


class InThisProcess:
    """Executor without processes; the given results come before those of the work."""

    def __init__(self, *first: Failed | BaseException) -> None:
        self.first = list(first)
        self.tasks: list[Any] = []

    def run(self, work: Work, tasks: Iterable, while_waiting: WhileWaiting = do_nothing) -> Iterator[FinishedTask]:
        process = work.load(torch.device("cpu"))
        for task in tasks:
            self.tasks.append(task)
            result = self.first.pop(0) if self.first else None
            if isinstance(result, BaseException):
                raise result
            yield run_task(process, task) if result is None else FinishedTask(task, result, 0.0)


def load(device: torch.device, fatal: Path | None = None) -> LipsyncPipeline:
    """Build the tiny networks; a worker that finds the file `fatal` removes it, and dies in its first segment."""
    pipeline = tiny_pipeline(face_is_shown)
    if fatal is not None and fatal.exists():
        fatal.unlink()
        pipeline.synthesizer.denoise = lambda *given: os.kill(os.getpid(), signal.SIGKILL)
    return pipeline


def hang(device: torch.device) -> LipsyncPipeline:
    """Load networks that never generate a frame."""
    pipeline = tiny_pipeline(face_is_shown)
    pipeline.synthesizer.denoise = lambda *given: Event().wait()
    return pipeline


def workers(executor, num_workers: int = 3, load: Callable[[torch.device], LipsyncPipeline] = load) -> SegmentWorkers:
    return SegmentWorkers(executor, num_workers, load, on_accelerators=False, min_frames=1)


@pytest.fixture(scope="module")
def pipeline() -> LipsyncPipeline:
    return tiny_pipeline(face_is_shown)


def content(path: Path) -> tuple:
    """Return what a player shows: frames, timestamps and sound."""
    with AudioSamples.decode(path) as samples:
        sound = samples.read(0, samples.num_samples)
    streams = probe_streams(path)["streams"]
    kinds = [(stream["codec_name"], stream.get("time_base"), stream.get("profile")) for stream in streams]
    return read(path), sorted(time or 0 for time, _ in video_packets(path)), sound, kinds


def assert_equal_results(folder: Path, name: str, other: str, suffix: str = ".mp4") -> None:
    for stem, other_stem in ((name, other), (f"{name}_compare", f"{other}_compare")):
        expected, joined = content(folder / f"{stem}{suffix}"), content(folder / f"{other_stem}{suffix}")
        np.testing.assert_array_equal(joined[0], expected[0])
        assert joined[1] == expected[1]
        np.testing.assert_array_equal(joined[2], expected[2])
        assert joined[3] == expected[3]
    sheets = [np.asarray(Image.open(folder / f"{each}_sheet.png")) for each in (name, other)]
    np.testing.assert_array_equal(*sheets)


def test_two_processes_one_of_which_dies_give_the_result_of_one(pipeline: LipsyncPipeline, tmp_path: Path, caplog):
    video, speech = make_video(tmp_path / "v.mp4", NUM_FRAMES, range(17, 20)), make_speech(tmp_path / "s.wav", 1.6)
    whole = pipeline(video, speech, tmp_path / "whole.mp4", OPTIONS)
    (fatal := tmp_path / "fatal").touch()
    done: list[tuple[str, float, int]] = []
    parallel = workers(LocalExecutor(num_workers=2), 2, partial(load, fatal=fatal))
    report = pipeline(
        *(video, speech, tmp_path / "joined.mp4", OPTIONS, tmp_path / "temporary"),
        progress=lambda *given: done.append(given),
        second_pass=parallel,
    )
    assert not fatal.exists()
    assert "run again: its worker was killed by SIGKILL" in caplog.text
    assert_equal_results(tmp_path, "whole", "joined")
    assert [path.name for path in report.extra_files] == ["joined_compare.mp4", "joined_sheet.png"]
    assert replace(report, **{name: getattr(whole, name) for name in UNEQUAL}) == whole
    assert done[-1] == ("lips", NUM_FRAMES, NUM_FRAMES)
    assert list((tmp_path / "temporary").iterdir()) == []


UNEQUAL = ("video", "extra_files", "detection_seconds", "synthesis_seconds", "peak_memory_mb")


@pytest.mark.long
@pytest.mark.parametrize(("suffix", "fps"), [(".mkv", "25"), (".mov", "source")])
def test_three_segments_in_other_containers_and_with_masks(
    pipeline: LipsyncPipeline, tmp_path: Path, suffix: str, fps: str
):
    """At 24 frames per second; the sound of a longer video is padded."""
    video, speech = make_video(tmp_path / "v.mp4", NUM_FRAMES, fps=24), make_speech(tmp_path / "s.wav", 1.3)
    masks = str(write_masks(tmp_path / "masks", 42 if fps == "25" else NUM_FRAMES))
    options = replace(OPTIONS, video_fps=fps, sync_mode="silence", occluder=masks)
    whole = pipeline(video, speech, tmp_path / f"whole{suffix}", options)
    joined = pipeline(
        video, speech, tmp_path / f"joined{suffix}", options, second_pass=workers(InThisProcess(Failed(CRASHED, "")))
    )
    assert_equal_results(tmp_path, "whole", "joined", suffix)
    assert [person.spans for person in joined.people] == [person.spans for person in whole.people]
    assert len(joined.people[0].spans) == 2


@pytest.mark.parametrize("is_late", [pytest.param(False, marks=pytest.mark.long), True])
def test_segments_are_found_by_seeking_and_a_wrong_frame_is_noticed(
    pipeline: LipsyncPipeline, tmp_path: Path, caplog, monkeypatch, is_late: bool
):
    """Seeks land one frame late in the other case, but not in the trial at the beginning."""
    video, speech = make_video(tmp_path / "v.mp4", NUM_FRAMES), make_speech(tmp_path / "s.wav", 1.6)
    whole = pipeline(video, speech, tmp_path / "whole.mp4", OPTIONS)
    if is_late:
        seek_of = reader.seek_before
        monkeypatch.setattr(reader, "seek_before", lambda time_s: {**seek_of(time_s), **LATE} if time_s > 0.3 else {})
    executor = InThisProcess()
    parallel = replace(workers(executor), min_seek_s=0.08)
    joined = pipeline(video, speech, tmp_path / "joined.mp4", OPTIONS, second_pass=parallel)
    assert_equal_results(tmp_path, "whole", "joined")
    assert joined.num_frames == whole.num_frames
    seeking = {task.number for task in executor.tasks if task.seek}
    again = {task.number for task in executor.tasks[3:]}
    assert seeking
    assert again == (seeking if is_late else set())
    assert caplog.text.count("run again: a seek was inexact") == len(again)


LATE = {"itsoffset": 1 / 25}


def test_an_error_of_the_progress_callback_stops_the_workers_at_once(pipeline: LipsyncPipeline, tmp_path: Path):
    """The workers hang, so no segment ends by itself."""
    video, speech = make_video(tmp_path / "v.mp4", NUM_FRAMES), make_speech(tmp_path / "s.wav", 1.6)

    def progress(stage: str, done: float, total: int) -> None:
        if stage == "lips":
            raise KeyboardInterrupt("cancelled")

    with pytest.raises(KeyboardInterrupt, match="cancelled"):
        pipeline(
            *(video, speech, tmp_path / "out.mp4", OPTIONS, tmp_path / "temporary"),
            progress=progress,
            second_pass=workers(LocalExecutor(num_workers=2), 2, hang),
        )
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ([Failed(ERROR, "the masks have changed")], "the masks have changed"),
        ([Failed(CRASHED, "its worker was killed")] * 3 * MAX_ATTEMPTS, "its worker was killed"),
        ([KeyboardInterrupt("stop")], "stop"),
    ],
)
def test_failures_and_ctrl_c_leave_nothing(pipeline: LipsyncPipeline, tmp_path: Path, first: list, message: str):
    video, speech = make_video(tmp_path / "v.mp4", NUM_FRAMES), make_speech(tmp_path / "s.wav", 1.6)
    error = KeyboardInterrupt if message == "stop" else LatentSyncError
    with pytest.raises(error, match=message):
        pipeline(
            *(video, speech, tmp_path / "out.mp4", OPTIONS, tmp_path / "temporary"),
            second_pass=workers(InThisProcess(*first)),
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.wav", "temporary", "v.mp4"]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_video_that_is_too_short_is_not_cut(pipeline: LipsyncPipeline, tmp_path: Path):
    video, speech = make_video(tmp_path / "v.mp4", 20), make_speech(tmp_path / "s.wav", 0.8)
    alone = SegmentWorkers(InThisProcess(KeyboardInterrupt()), 4, load, on_accelerators=False)
    assert pipeline(video, speech, tmp_path / "out.mp4", QUICK, second_pass=alone).num_frames == 20


@pytest.mark.parametrize(
    ("given", "num_workers"),
    [([], None), (["--workers", "2"], 2), (["--executor", "local", "--workers", "3"], 3)],
)
def test_one_video_takes_workers_of_this_machine(given: list[str], num_workers: int | None):
    executor = segment_executor(build_parser().parse_args(given))
    assert getattr(executor, "num_workers", None) == num_workers
    assert executor is None or isinstance(executor, LocalExecutor)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--executor", "local"], "--executor cuts one video into a segment for each worker: add --workers N"),
        (["--workers", "2", "--device", "cuda:1"], "--device cuda:1 names one device"),
        (["--job_timeout_s", "5"], "--job_timeout_s is for workers"),
    ],
)
def test_arguments_that_contradict_workers_are_refused_before_the_work(given: list[str], message: str):
    with pytest.raises(InputError, match=message):
        segment_executor(build_parser().parse_args(given))
