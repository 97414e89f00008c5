"""Render a set of synthetic people for evaluation, with a known ground truth for every lip-sync.

    python -m eval.synthetic_set --out data/eval --num 30
    python -m eval.inference_videos --list data/eval/list.csv --out runs/eval

Each person is also rendered with another person's speech: the same appearance, scene and head movement. `list.csv`
contains both protocols. The default seed was held out from the training of the demo weights.
"""

import argparse
import csv
import json
import logging
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
from tqdm import tqdm

from demo.synthetic.clip import FPS, TalkingClip
from demo.synthetic.speech import write_wav
from eval.jobs import derangement
from eval.pairs import CROSS_AUDIO, RECONSTRUCTION
from latentsync.cli import OneLineParser, run_command
from latentsync.errors import InputError
from latentsync.media.writer import VideoWriter
from latentsync.storage.atomic import atomic_write
from latentsync.storage.output_file import atomic_output
from latentsync.storage.owned_folder import check_ownership, claim_folder

_VERSION = 1
"""Incremented when the files of a set change."""
_CRF = 10
PROGRAM, RECORD = "evaluation set", "set.json"
_REMEDY = "name another --out"


@dataclass(frozen=True)
class SyntheticSet:
    """Settings of a set, which determine every file in it.

    Attributes:
        seed: seed of people, scenes, movements, sentences, and of the assignment of drivers.
        num_clips: number of people.
        seconds: length of each clip.
        size: side of the square frames in pixels.
    """

    seed: int = 1
    num_clips: int = 30
    seconds: float = 3.5
    size: int = 288

    def __post_init__(self) -> None:
        if self.num_clips < 2:
            raise InputError(f"--num {self.num_clips}: two clips at least, so that they can swap their speech")
        if not 1.0 <= self.seconds <= 600.0:
            raise InputError(f"--seconds {self.seconds}: choose between 1 and 600")
        if not 96 <= self.size <= 2048:
            raise InputError(f"--size {self.size}: choose between 96 and 2048 pixels")

    def drivers(self) -> list[int]:
        """Return for each person the index of the person whose speech drives it in the cross-audio protocol."""
        return derangement(self.num_clips, self.seed)


def make_set(chosen: SyntheticSet, out: Path, num_workers: int = 1) -> Path:
    """Render the missing files of a set and return the path of its list.

    Raises:
        InputError: the folder holds a set with other settings.
        ToolError: espeak-ng or ffmpeg is missing.
    """
    _claim(chosen, out)
    for folder in ("clips", "truth"):
        (out / folder).mkdir(exist_ok=True)
    work = partial(make_clip, chosen, out)
    if num_workers > 1:
        with ProcessPoolExecutor(num_workers) as pool:
            done = pool.map(work, range(chosen.num_clips))
            list(tqdm(done, total=chosen.num_clips, disable=None, unit="person"))
    else:
        for index in tqdm(range(chosen.num_clips), disable=None, unit="person"):
            work(index)
    return _write_list(chosen, out)


def make_clip(chosen: SyntheticSet, out: Path, index: int) -> None:
    """Render the missing files of one person: clip, speech, and the clip driven by the driver's speech."""
    cv2.setNumThreads(1)
    driver = chosen.drivers()[index]
    for speaker, video in ((index, clip_files(out, index)[0]), (driver, truth_file(out, index, driver))):
        if not video.is_file():
            samples = TalkingClip(chosen.seed, speaker, chosen.seconds).samples
            clip = TalkingClip(chosen.seed, index, chosen.seconds, samples, chosen.size)
            _write_film(clip, _written_speech(clip, clip_files(out, speaker)[1]), video)


def _written_speech(clip: TalkingClip, path: Path) -> Path:
    if not path.is_file():
        with atomic_write(path) as temporary:
            write_wav(temporary, clip.samples)
    return path


def clip_files(out: Path, index: int) -> tuple[Path, Path]:
    """Return the paths of a person's video and speech."""
    return out / "clips" / f"person_{index:04d}.mp4", out / "clips" / f"person_{index:04d}.wav"


def truth_file(out: Path, index: int, driver: int) -> Path:
    """Return the path of a person's video with the driver's speech."""
    return out / "truth" / f"person_{index:04d}_says_{driver:04d}.mp4"


def _write_film(clip: TalkingClip, speech: Path, path: Path) -> None:
    with VideoWriter(path, clip.frame_size, clip.frame_size, FPS, crf=_CRF, audio_path=speech) as writer:
        for frame in clip.frames():
            writer.write(frame)


def _claim(chosen: SyntheticSet, out: Path) -> None:
    """Claim the folder and record the settings, or check that it holds a set with equal settings."""
    content = {"version": _VERSION, **asdict(chosen)}
    check_ownership(out, PROGRAM, _REMEDY, _is_of_older_version)
    record = out / RECORD
    if record.exists() and (found := _read_record(record)) != content:
        raise InputError(f"{out} holds a set made otherwise ({json.dumps(found)}): {_REMEDY}")
    claim_folder(out, PROGRAM, _REMEDY, _is_of_older_version)
    if not record.exists():
        with atomic_output(record) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n")


def _is_of_older_version(out: Path) -> bool:
    found = _read_record(out / RECORD)
    return isinstance(found, dict) and found.keys() == {"version", *asdict(SyntheticSet())}


def _read_record(path: Path) -> object:
    """Return the recorded settings of a set, or None if they cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write_list(chosen: SyntheticSet, out: Path) -> Path:
    path = out / "list.csv"
    with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("name", "video", "audio", "reference", "protocol"))
        for index, driver in enumerate(chosen.drivers()):
            video, speech = clip_files(out, index)
            files = {RECONSTRUCTION: (video, speech, video)}
            files[CROSS_AUDIO] = (video, clip_files(out, driver)[1], truth_file(out, index, driver))
            for protocol, paths in files.items():
                writer.writerow((f"person_{index:04d}", *(os.path.relpath(path, out) for path in paths), protocol))
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = OneLineParser(
        prog="python -m eval.synthetic_set",
        description=__doc__,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = SyntheticSet()
    parser.add_argument("--out", type=Path, required=True, help="folder of the set; existing files are kept")
    parser.add_argument("--num", type=int, default=defaults.num_clips, help="number of people (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=defaults.seconds, help="length of a clip (default: %(default)s)"
    )
    parser.add_argument("--size", type=int, default=defaults.size, help="frame side in pixels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="1 is held out (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    return run_command(lambda: _main(options), when_stopped="repeat the command to resume")


def _main(options: argparse.Namespace) -> int:
    chosen = SyntheticSet(options.seed, options.num, options.seconds, options.size)
    print(f"wrote {make_set(chosen, options.out, options.workers)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
