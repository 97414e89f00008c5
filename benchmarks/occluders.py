"""Measure `--occluder` on rendered people with a hand, a microphone or a mug in front of the mouth, and its true mask.

    python -m benchmarks.occluders [--clips 6] [arguments of ./inference.sh]

Every clip is dubbed three times: without the thing (free), with it and its masks, and with it and its masks but without
filling the crops that the U-Net has as reference (unfilled). Frames are compared before the encoding of the result:

* `changed`: pixels with a mask of 255 that differ from the source, over all frames;
* `near, dB`, `face, dB`: PSNR of the generated pixels against those of the free dub, at most 0.1 crop sides from the
  mask and in the whole generated region, without the mask and its soft border.
"""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.measurement import markdown_table
from demo.synthetic.clip import FPS, TalkingClip
from demo.synthetic.occluder import OCCLUDERS, Occluder
from demo.synthetic.speech import read_wav
from latentsync.cli import OneLineParser, run_command
from latentsync.face.align import invert
from latentsync.face.occlusion import SOFTNESS_SHARE, OcclusionFiller
from latentsync.face.paste import FacePaster
from latentsync.media.transcode import cut_audio
from latentsync.media.writer import VideoWriter
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.options import LipsyncOptions
from latentsync.recipes.lipsync_arguments import ChosenPipeline
from scripts import inference

SEED, SECONDS, FRAME_SIZE = 7300, 2.0, 384
COLUMNS = ("thing", "clip", "hidden", "changed", "near, dB", "unfilled", "face, dB", "unfilled ")
NEAR_SHARE = 0.1

Frames = list[tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float64] | None]]
"""Source, result and matrix to the crop of each frame."""


@contextmanager
def unfilled() -> Iterator[None]:
    """Give the U-Net crops that show the occluder."""
    fill = OcclusionFiller.fill
    OcclusionFiller.fill = lambda self, crops, masks, matrices: crops  # type: ignore[method-assign]
    try:
        yield
    finally:
        OcclusionFiller.fill = fill  # type: ignore[method-assign]


def dubbed(pipeline: LipsyncPipeline, folder: Path, video: Path, audio: Path, options: LipsyncOptions) -> Frames:
    """Return the frames of a result before they are encoded."""
    frames: Frames = []

    def keep(index: int, source: NDArray[np.uint8], result: NDArray[np.uint8], matrix: Any) -> None:
        frames.append((source.copy(), result.copy(), matrix))

    pipeline(video, audio, folder / "out.mp4", options, frame_callback=keep)
    return frames


def write_frames(path: Path, frames: Iterator[NDArray[np.uint8]]) -> Path:
    """Write frames as a video without loss but that of 4:2:0."""
    with VideoWriter(path, FRAME_SIZE, FRAME_SIZE, Fraction(FPS), crf=0) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def measure(pipeline: LipsyncPipeline, options: LipsyncOptions, index: int, speech: Path, folder: Path) -> list[Any]:
    """Return a row of the table."""
    samples = read_wav(speech)
    clip = TalkingClip(SEED, index, SECONDS, speech=samples[::-1].copy(), frame_size=FRAME_SIZE)
    kind, frames = OCCLUDERS[index % len(OCCLUDERS)], list(clip.frames())
    rng, size = np.random.default_rng([SEED, index]), (FRAME_SIZE, FRAME_SIZE)
    thing = Occluder(kind, rng, clip.person, clip.scene, clip.states, size)
    masks = list(thing.masks())
    (folder / "masks").mkdir()
    for number, mask in enumerate(masks):
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    source = write_frames(folder / "free.mp4", iter(frames))
    hidden = write_frames(folder / "hidden.mp4", thing.over(frames))
    masked = replace(options, occluder=str(folder / "masks"))
    free = dubbed(pipeline, folder, source, speech, options)
    filled = dubbed(pipeline, folder, hidden, speech, masked)
    with unfilled():
        copied = dubbed(pipeline, folder, hidden, speech, masked)
    weight = FacePaster(pipeline.resolution).weight.numpy()
    changed, errors = 0, {name: [0.0, 0.0, 0] for name in ("near", "face")}
    for (_, aim, matrix), with_fill, without, mask in zip(free, filled, copied, masks, strict=True):
        changed += int((with_fill[0] != with_fill[1]).any(axis=-1)[mask == 255].sum())
        if matrix is None or with_fill[2] is None or not mask.any():
            continue
        for name, region in regions(mask, matrix, weight).items():
            squares = [
                ((each[1].astype(float) - aim) ** 2).mean(axis=-1)[region].sum() for each in (with_fill, without)
            ]
            errors[name] = [errors[name][0] + squares[0], errors[name][1] + squares[1], errors[name][2] + region.sum()]
    share = float(thing.mouth_hidden().mean())
    return [
        kind,
        index,
        share,
        changed,
        *(psnr_db(errors[name][k] / errors[name][2]) for name in errors for k in (0, 1)),
    ]


def regions(mask: NDArray[np.uint8], matrix: NDArray[np.float64], weight: NDArray[np.floating]) -> dict[str, Any]:
    """Return (h, w) masks of the generated pixels near an occluder, and of all that it leaves."""
    height, width = mask.shape
    side = len(weight) / float(np.sqrt(abs(np.linalg.det(np.asarray(matrix)[:, :2]))))
    generated = cv2.warpAffine(weight.astype(np.float32), invert(matrix), (width, height)) > 0.5
    grown = [
        cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))) > 0
        for radius in (3 * max(1, round(SOFTNESS_SHARE * side)), round(NEAR_SHARE * side))
    ]
    return {"near": generated & ~grown[0] & grown[1], "face": generated & ~grown[0]}


def psnr_db(mean_square: float) -> float:
    """Return the PSNR of 8-bit values."""
    return float(10 * np.log10(255**2 / mean_square))


def main(arguments: list[str] | None = None) -> int:
    """Print the table; return 0, or 2 if an input is invalid."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=6)
    own, rest = parser.parse_known_args(arguments)
    given = inference.build_parser().parse_args(rest)

    def run() -> int:
        chosen = ChosenPipeline.of(given)
        pipeline = chosen.load()
        rows = []
        for index in range(own.clips):
            with tempfile.TemporaryDirectory() as folder:
                speech = Path(folder) / "speech.wav"
                cut_audio(given.audio_path, speech, SECONDS)
                rows.append(measure(pipeline, replace(chosen.options, crf=0), index, speech, Path(folder)))
        rows.append(["mean", "", *np.mean([row[2:] for row in rows], axis=0).tolist()])
        print(markdown_table(COLUMNS, [dict(zip(COLUMNS, row, strict=True)) for row in rows]))
        return 0

    return run_command(run, when_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())
