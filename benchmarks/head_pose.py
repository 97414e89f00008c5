"""Measure the yaw that `--max_yaw` uses: on rendered people, and on videos beside MediaPipe's FaceMesh.

    python -m benchmarks.head_pose [VIDEO ...] [--detector mtcnn]

The first table lists the yaw from the true anchors of rendered people for turns of the renderer. The second lists for
each video the median and the range of the yaw of the followed face, and the mean absolute difference from the yaw of
FaceMesh's 3D points where the package mediapipe (0.10 with its `solutions`) is installed.
"""

import argparse
import importlib
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measurement import markdown_table
from demo.synthetic.person import Person
from demo.synthetic.renderer import State, anchors
from latentsync.cli import OneLineParser, run_command
from latentsync.face.detector import DETECTORS, build_detector, resolve_detector
from latentsync.face.head_pose import NOSE_DEPTH_68_POINTS, NOSE_DEPTH_FIVE_POINTS, yaw_degrees
from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader
from latentsync.pipelines.face_pass import find_face

NUM_PEOPLE = 40
TURNS = (-0.24, -0.12, 0.0, 0.06, 0.12, 0.18, 0.24, 0.30, 0.36)
TURN_COLUMNS = ("turn, face units", "yaw, mean", "yaw, least", "yaw, largest")
VIDEO_COLUMNS = ("video", "frames", "median", "5 %", "95 %", "FaceMesh, median", "mean abs. difference")
SYMMETRIC = ((33, 263), (234, 454), (127, 356), (61, 291), (93, 323))
"""Pairs of FaceMesh's points on the left and right of the image: eyes, cheeks, temples, mouth."""
FPS = Fraction(25)


def rendered_rows() -> list[dict[str, Any]]:
    """Return the rows of the first table."""
    people = [Person.random(np.random.default_rng(seed)) for seed in range(NUM_PEOPLE)]
    rows = []
    for turn in TURNS:
        yaw = yaw_degrees(np.stack([anchors(person, State(turn=(turn, 0.0))) for person in people]))
        rows.append(dict(zip(TURN_COLUMNS, (turn, *map(float, (yaw.mean(), yaw.min(), yaw.max()))), strict=True)))
    return rows


def video_row(path: Path, detector: str) -> dict[str, Any]:
    """Return a row of the second table."""
    depth = NOSE_DEPTH_FIVE_POINTS if resolve_detector(detector) == "mtcnn" else NOSE_DEPTH_68_POINTS
    plan = find_face(probe_video(path), FPS, build_detector(detector))
    yaw = yaw_degrees(plan.anchors, depth)
    middle, low, high = np.nanpercentile(yaw, (50, 5, 95))
    values: list[Any] = [path.name, int(np.isfinite(yaw).sum()), middle, low, high, "-", "-"]
    if (reference := face_mesh_yaw(path)) is not None:
        num_frames = min(len(yaw), len(reference))
        difference = np.abs(yaw[:num_frames] - reference[:num_frames])
        values[-2:] = np.nanmedian(reference), np.nanmean(difference)
    return dict(zip(VIDEO_COLUMNS, values, strict=True))


def face_mesh_yaw(path: Path) -> NDArray[np.float64] | None:
    """Return the yaw (n,) in degrees of FaceMesh's symmetric points, NaN without a face; None without mediapipe."""
    try:
        mesh = importlib.import_module("mediapipe").solutions.face_mesh.FaceMesh(static_image_mode=False)
    except (ImportError, AttributeError):
        return None
    yaw = []
    with VideoReader(path, FPS) as reader:
        for frame in reader:
            found = mesh.process(np.ascontiguousarray(frame)).multi_face_landmarks
            if not found:
                yaw.append(np.nan)
                continue
            height, width = frame.shape[:2]
            points = np.array([(point.x * width, point.y * height, point.z * width) for point in found[0].landmark])
            lines = np.stack([points[right] - points[left] for left, right in SYMMETRIC])
            yaw.append(np.degrees(np.arctan2(lines[:, 2], np.hypot(lines[:, 0], lines[:, 1]))).mean())
    return np.array(yaw)


def main(arguments: list[str] | None = None) -> int:
    """Print the tables; return 0, or 2 if a video is unusable."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="*", metavar="VIDEO")
    parser.add_argument("--detector", choices=DETECTORS, default="mtcnn")
    given = parser.parse_args(arguments)

    def run() -> int:
        print(markdown_table(TURN_COLUMNS, rendered_rows()))
        if given.videos:
            print(markdown_table(VIDEO_COLUMNS, [video_row(path, given.detector) for path in given.videos]))
        return 0

    return run_command(run, when_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())
