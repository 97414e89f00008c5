"""Create synthetic data: `python -m demo.synthetic dataset|raw|people|clip|speech|voices --help`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import get_args

import numpy as np

from demo.synthetic.clip import Alignment, Look, TalkingClip, write_video
from demo.synthetic.clip_set import DatasetConfig, make_dataset
from demo.synthetic.occluder import OCCLUDERS
from demo.synthetic.people_scene import KINDS
from demo.synthetic.people_set import PeopleConfig, make_people_scenes
from demo.synthetic.raw import RawConfig, make_raw_videos
from demo.synthetic.speech import Voice, random_speech, read_wav, speak, write_voices, write_wav
from latentsync.cli import OneLineParser, run_command
from latentsync.errors import InputError
from latentsync.storage.output_file import atomic_output, check_output_file


def _parser() -> argparse.ArgumentParser:
    parser = OneLineParser(prog="python -m demo.synthetic", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    dataset = commands.add_parser("dataset", help="training clips of faces with exact mouth tracks")
    dataset.add_argument("--out", type=Path, required=True, help="folder; existing clips are kept or completed")
    dataset.add_argument("--num_clips", type=int, default=240)
    dataset.add_argument("--seconds", type=float, default=6.0)
    dataset.add_argument("--seed", type=int, default=0)
    dataset.add_argument("--workers", type=int, default=2)
    dataset.add_argument("--resolution", type=int, default=128)
    dataset.add_argument(
        "--alignment", choices=get_args(Alignment), default="aligned",
        help="fixed_box: a square that does not follow the face, to measure the effect of alignment",
    )  # fmt: skip
    dataset.add_argument(
        "--look", choices=(*get_args(Look), "mixed"), default="plain",
        help="varied: more varied people, light, poses and cameras; mixed: four of five clips",
    )  # fmt: skip
    raw = commands.add_parser("raw", help="raw videos for the data pipeline, some with faults")
    raw.add_argument("--out", type=Path, required=True, help="folder; existing files are kept or completed")
    raw.add_argument("--num_good", type=int, default=4)
    raw.add_argument("--size", type=int, default=None, help="side of the frames; 2.5 times the resolution by default")
    raw.add_argument("--seconds", type=float, default=6.0)
    raw.add_argument("--seed", type=int, default=0)
    raw.add_argument("--resolution", type=int, default=256, help="resolution of the pipeline; faces are a third larger")
    people = commands.add_parser("people", help="scenes of two people with turns, voices and ground truth")
    people.add_argument("--out", type=Path, required=True, help="folder; existing scenes are kept or completed")
    people.add_argument("--count", type=int, default=5, help="number of scenes")
    people.add_argument("--seed", type=int, default=0)
    people.add_argument(
        "--kind", choices=KINDS, default=None,
        help="overlap: simultaneous speech; crossing: the people swap sides; cut: a cut in the middle; "
        "still: one person never speaks; by default all kinds in turn",
    )  # fmt: skip
    people.add_argument("--seconds", type=float, default=8.0)
    people.add_argument(
        "--occluder", choices=OCCLUDERS, default=None,
        help="a thing that moves in front of the mouth of one person; its true mask becomes a lossless video",
    )  # fmt: skip
    people.add_argument("--mask_images", action="store_true", help="write the masks as a folder of images too")
    people.add_argument("--turn", type=float, default=None, help="degrees by which one person turns away for a while")
    clip = commands.add_parser("clip", help="one full-frame video with its speech")
    clip.add_argument("--out", type=Path, required=True, help="the .mp4 to write")
    clip.add_argument("--seed", type=int, default=0)
    clip.add_argument("--index", type=int, default=0)
    clip.add_argument("--size", type=int, default=512)
    clip.add_argument("--seconds", type=float, default=5.0)
    clip.add_argument("--speech", type=Path, default=None, help="a 16-bit .wav to use instead of synthesized speech")
    speech = commands.add_parser("speech", help="one speech file")
    speech.add_argument("--out", type=Path, required=True, help="the .wav to write")
    speech.add_argument("--seed", type=int, default=0)
    speech.add_argument("--seconds", type=float, default=5.0)
    speech.add_argument("--text", default=None, help="text to speak instead of random sentences, in full length")
    speech.add_argument("--voice", choices=("female", "male"), default="female")
    voices = commands.add_parser("voices", help="recordings of several voices as Opus, for the speech bank of adapt.sh")
    voices.add_argument("--out", type=Path, required=True, help="folder, in which no file of these names exists")
    voices.add_argument("--num_voices", type=int, default=8)
    voices.add_argument("--seconds", type=float, default=12.0)
    voices.add_argument("--seed", type=int, default=4242)
    return parser


def _run(options: argparse.Namespace) -> int:
    if not 0.2 <= options.seconds <= 600.0:
        raise InputError(f"--seconds {options.seconds}: choose between 0.2 and 600")
    if options.command == "dataset":
        if options.num_clips < 1 or options.workers < 1 or options.resolution < 32:
            raise InputError("--num_clips and --workers must be at least 1, --resolution at least 32")
        config = DatasetConfig(
            options.out, options.num_clips, options.seconds, options.seed, options.resolution, options.alignment,
            options.look,
        )  # fmt: skip
        make_dataset(config, options.workers)
    elif options.command == "raw":
        size = options.size or 2 * round(1.25 * options.resolution)
        make_raw_videos(
            options.out, RawConfig(options.num_good, size, options.seconds, options.seed, options.resolution)
        )
    elif options.command == "people":
        make_people_scenes(PeopleConfig(
            options.out, options.count, options.seed, options.kind, options.seconds, options.occluder,
            options.mask_images, options.turn,
        ))  # fmt: skip
    elif options.command == "clip":
        check_output_file(options.out, [options.speech] if options.speech else [], suffixes=(".mp4",))
        speech = read_wav(options.speech) if options.speech else None
        clip = TalkingClip(options.seed, options.index, options.seconds, speech, options.size)
        write_video(clip, options.out)
    elif options.command == "voices":
        write_voices(options.out, options.num_voices, options.seconds, options.seed)
    else:
        check_output_file(options.out, [], suffixes=(".wav",))
        rng = np.random.default_rng(options.seed)
        feminine = options.voice == "female"
        if options.text:
            samples = speak(options.text, Voice.random(rng, feminine))
        else:
            samples = random_speech(rng, options.seconds, feminine).samples
        with atomic_output(options.out) as beside:
            write_wav(beside, samples)
    return 0


def main() -> int:
    """Run one command; return its exit status, 2 after an input error."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = _parser().parse_args()
    return run_command(lambda: _run(options), when_stopped="the same command creates what is missing")


if __name__ == "__main__":
    sys.exit(main())
