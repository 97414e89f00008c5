"""Lists of videos to generate: the driving audio of each, and the control rows of the report."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eval.pairs import (
    CROSS_AUDIO,
    GROUND_TRUTH,
    MODEL,
    RECONSTRUCTION,
    SOURCE,
    Pair,
    check_name,
    check_protocol,
    listed_file,
    optional_file,
)
from latentsync.errors import InputError
from latentsync.pipelines.video_maker import VideoJob
from latentsync.storage.table_file import read_table


@dataclass(frozen=True)
class Job:
    """One video to generate.

    Attributes:
        name: unique in its protocol.
        video: the source video.
        audio: the driving audio.
        protocol: one of `PROTOCOLS`.
        reference: what a perfect result would show, if known.
        driver: the video whose audio is used; None if the audio is a file of its own.
    """

    name: str
    video: Path
    audio: Path
    protocol: str
    reference: Path | None = None
    driver: Path | None = None

    @property
    def stem(self) -> str:
        """Stem of the files of this job."""
        return f"{self.protocol}-{self.name}"

    def task(self, out: Path) -> VideoJob:
        """Return the task of generating the video `<out>/videos/<stem>.mp4` and `<out>/records/<stem>.json`."""
        result, record = out / "videos" / f"{self.stem}.mp4", out / "records" / f"{self.stem}.json"
        return VideoJob(self.video, self.audio, result, record, {"name": self.name, "protocol": self.protocol})

    def pair(self, out: Path, row: str = MODEL) -> Pair:
        """Return the job's line in a list for `eval.run`."""
        task = self.task(out)
        return replace(self._as_pair(task.result, row), report=task.record)

    def controls(self) -> list[Pair]:
        """Return the pairs of the control rows, which show what the model's values mean.

        ``ground_truth`` is the reference. Without a reference it is the driving video itself, which is in sync but
        shows another person. ``source`` is the unchanged input, the result of a model that does nothing. Under the
        reconstruction protocol the input is the ground truth, so only ``ground_truth`` is returned.
        """
        pairs = []
        if self.reference is not None:
            pairs.append(self._as_pair(self.reference, GROUND_TRUTH))
        elif self.driver is not None:
            pairs.append(replace(self._as_pair(self.driver, GROUND_TRUTH), source=self.driver))
        if self.protocol != RECONSTRUCTION:
            pairs.append(self._as_pair(self.video, SOURCE))
        return pairs

    def _as_pair(self, result: Path, row: str) -> Pair:
        return Pair(self.name, result, self.video, self.audio, self.reference, protocol=self.protocol, row=row)


def read_jobs(path: Path, protocol: str, seed: int) -> list[Job]:
    """Read a CSV file with the columns name,video and optionally audio,reference,protocol.

    A line with an `audio` is used unchanged. The other lines are assigned audio by `protocol`, among themselves.

    Raises:
        InputError: the file is invalid, or only one video is to be assigned another one's audio.
    """
    lines = read_table(path, ("name", "video"), ("audio", "reference", "protocol"))
    without_audio = [line for line in lines if not line["audio"]]
    for line in without_audio:
        if line["reference"] or line["protocol"]:
            raise InputError(f"{path}: {line['name']} has no audio, but a reference or protocol: give all or none")
    names = [check_name(line["name"], path) for line in without_audio]
    jobs = assign(names, [listed_file(line, "video", path) for line in without_audio], protocol, seed)
    jobs += [_listed_job(line, path) for line in lines if line["audio"]]
    seen = set()
    for job in jobs:
        if job.stem in seen:
            raise InputError(f"{path} lists {job.name} twice in {job.protocol}: give each its own name")
        seen.add(job.stem)
    return jobs


def jobs_of_videos(videos: Sequence[Path], protocol: str, seed: int) -> list[Job]:
    """Return jobs of video files; names are numbered file stems, so that equal stems do not collide."""
    names = [f"{number:04d}_{_cleaned(video.stem)}" for number, video in enumerate(videos)]
    return assign(names, videos, protocol, seed)


def assign(names: Sequence[str], videos: Sequence[Path], protocol: str, seed: int) -> list[Job]:
    """Return jobs that give every video its own audio, or another video's by a seeded derangement."""
    if protocol == RECONSTRUCTION or not videos:
        return [
            Job(name, video, audio=video, protocol=RECONSTRUCTION, reference=video, driver=video)
            for name, video in zip(names, videos, strict=True)
        ]
    drivers = [videos[place] for place in derangement(len(videos), seed)]
    return [
        Job(name, video, audio=driver, protocol=CROSS_AUDIO, driver=driver)
        for name, video, driver in zip(names, videos, drivers, strict=True)
    ]


def derangement(count: int, seed: int) -> list[int]:
    """Return a random permutation of 0 ... count-1 without a fixed point; all such permutations are equally likely.

    Raises:
        InputError: `count` is below two, so that no such permutation exists.
    """
    if count < 2:
        raise InputError(f"{count} video cannot get another one's sound: list two at least, or use {RECONSTRUCTION}")
    rng = np.random.default_rng(seed)
    while True:  # about one permutation in e (2.7) is a derangement
        order = rng.permutation(count)
        if not np.any(order == np.arange(count)):
            return order.tolist()


def _listed_job(line: dict[str, str], path: Path) -> Job:
    return Job(
        name=check_name(line["name"], path),
        video=listed_file(line, "video", path),
        audio=listed_file(line, "audio", path),
        protocol=check_protocol(line["protocol"] or CROSS_AUDIO, path),
        reference=optional_file(line, "reference", path),
    )


def _cleaned(stem: str) -> str:
    """Return at most 60 characters of a stem, without characters that file systems or ffmpeg reject."""
    return re.sub(r"[\x00-\x1f/\\]+", "_", stem)[:60]
