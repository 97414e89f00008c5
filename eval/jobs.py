"""What a model is to make: a list of videos and the speech each gets, and the control rows beside it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.pairs import GROUND_TRUTH, MODEL, SOURCE, Pair, check_name, check_protocol
from eval.protocols import CROSS_AUDIO, RECONSTRUCTION, derangement
from latentsync.errors import InputError
from latentsync.pipelines.video_maker import VideoJob
from latentsync.storage.table_file import read_table


@dataclass(frozen=True)
class Job:
    """One video to make.

    Attributes:
        name: unique in its protocol.
        video: the person.
        audio: the speech.
        protocol: one of `PROTOCOLS`.
        reference: what a perfect result would show, where it is known.
        driver: the video whose speech it is; None where it is a sound file.
    """

    name: str
    video: Path
    audio: Path
    protocol: str
    reference: Path | None = None
    driver: Path | None = None

    @property
    def stem(self) -> str:
        """Name of its files."""
        return f"{self.protocol}-{self.name}"

    def task(self, out: Path) -> VideoJob:
        """What is to be made: a video in `<out>/videos`, its record in `<out>/records`."""
        result, record = out / "videos" / f"{self.stem}.mp4", out / "records" / f"{self.stem}.json"
        return VideoJob(self.video, self.audio, result, record, {"name": self.name, "protocol": self.protocol})

    def pair(self, out: Path, row: str = MODEL) -> Pair:
        """The job's line in a list for `eval.run`."""
        task = self.task(out)
        files = (task.result, self.video, self.audio, self.reference, task.record)
        return Pair(self.name, *files, self.protocol, row)


def read_jobs(path: Path, protocol: str, seed: int) -> list[Job]:
    """Jobs of a CSV file with the columns name,video and optionally audio,reference,protocol.

    A line with an `audio` is taken as it is. The others get their speech by `protocol`, among themselves.

    Raises:
        InputError: the file cannot be used, or there is nobody to swap sound with.
    """
    lines = read_table(path, ("name", "video"), ("audio", "reference", "protocol"))
    open_lines = [line for line in lines if not line["audio"]]
    for line in open_lines:
        if line["reference"] or line["protocol"]:
            raise InputError(f"{path}: {line['name']} has no audio, but a reference or protocol: give all or none")
    names = [check_name(line["name"], path) for line in open_lines]
    jobs = assign(names, [path.parent / line["video"] for line in open_lines], protocol, seed)
    jobs += [_listed(line, path) for line in lines if line["audio"]]
    seen = set()
    for job in jobs:
        if job.stem in seen:
            raise InputError(f"{path} lists {job.name} twice in {job.protocol}: give each its own name")
        seen.add(job.stem)
    return jobs


def jobs_of_videos(videos: Sequence[Path], protocol: str, seed: int) -> list[Job]:
    """Jobs of video files, named after them and numbered, so that equal file names do not meet."""
    names = [f"{number:04d}_{_cleaned(video.stem)}" for number, video in enumerate(videos)]
    return assign(names, videos, protocol, seed)


def assign(names: Sequence[str], videos: Sequence[Path], protocol: str, seed: int) -> list[Job]:
    """Gives every video its own speech, or by a seeded derangement another one's."""
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


def control_pairs(jobs: Sequence[Job]) -> list[Pair]:
    """The rows that tell what the model's figures mean, to be judged as its results are.

    ``ground_truth``: the reference; without one, the driving video as it is, which is in sync by itself but another
    person. ``source``: the input left as it is, a model that does nothing. Under the reconstruction protocol the input
    is the ground truth, so it stands there once, as ``ground_truth``.
    """
    pairs = []
    for job in jobs:
        if job.reference is not None:
            truth = Pair(job.name, job.reference, job.video, job.audio, job.reference)
        elif job.driver is not None:
            truth = Pair(job.name, job.driver, job.driver, job.audio)
        else:
            truth = None
        if truth is not None:
            pairs.append(_in(truth, job, GROUND_TRUTH))
        if job.protocol != RECONSTRUCTION:
            pairs.append(_in(Pair(job.name, job.video, job.video, job.audio, job.reference), job, SOURCE))
    return pairs


def _in(pair: Pair, job: Job, row: str) -> Pair:
    return Pair(pair.name, pair.result, pair.source, pair.audio, pair.reference, None, job.protocol, row)


def _listed(line: dict[str, str], path: Path) -> Job:
    return Job(
        name=check_name(line["name"], path),
        video=path.parent / line["video"],
        audio=path.parent / line["audio"],
        protocol=check_protocol(line["protocol"] or CROSS_AUDIO, path),
        reference=path.parent / line["reference"] if line["reference"] else None,
    )


def _cleaned(stem: str) -> str:
    """A file's stem as a part of a name: at most 60 characters, nothing that a file system or ffmpeg trips over."""
    return re.sub(r"[\x00-\x1f/\\]+", "_", stem)[:60]
