"""Measure the yaw that `--max_yaw` uses: on rendered people, and on videos beside MediaPipe's FaceMesh.

    python -m benchmarks.head_pose [VIDEO ...] [--detector mtcnn]

The first table lists what is read from rendered people whose head is rotated: from their true anchors, and from those
of a detector, with its share of found faces. The second lists for each video the median and the range of the yaw of the
followed face, and the mean absolute difference from the yaw of FaceMesh's 3D points where the package mediapipe (0.10
with its `solutions`) is installed.
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
from demo.synthetic.renderer import Renderer, State, anchors
from demo.synthetic.scene import Scene
from latentsync.cli import OneLineParser, run_command
from latentsync.face.detector import DETECTORS, build_detector, resolve_detector
from latentsync.face.head_pose import NOSE_DEPTH_68_POINTS, NOSE_DEPTH_FIVE_POINTS, yaw_degrees
from latentsync.media.probe import probe_video
from latentsync.media.reader import VideoReader
from latentsync.pipelines.face_pass import find_face

NUM_PEOPLE, SEED = 20, 900
YAWS = (-40.0, -30.0, -20.0, -10.0, 0.0, 10.0, 20.0, 30.0, 40.0)
YAW_COLUMNS = ("true yaw", "true anchors", "faces found", "detector, mean", "least", "largest", "mean abs. error")
VIDEO_COLUMNS = ("video", "frames", "median", "5 %", "95 %", "FaceMesh, median", "mean abs. difference")
SYMMETRIC = ((33, 263), (234, 454), (127, 356), (61, 291), (93, 323))
"""Pairs of FaceMesh's points on the left and right of the image: eyes, cheeks, temples, mouth."""
FPS = Fraction(25)


def rendered_rows(detector: str) -> list[dict[str, Any]]:
    """Return the rows of the first table."""
    network, depth = build_detector(detector), nose_depth(detector)
    people = [_RenderedPerson(SEED + number) for number in range(NUM_PEOPLE)]
    rows = []
    for yaw in YAWS:
        true = yaw_degrees(np.stack([anchors(one.person, one.state(yaw)) for one in people]))
        found = [faces[0].anchors for one in people if (faces := network.detect([one.image(yaw)])[0])]
        read = yaw_degrees(np.stack(found), depth)
        values = [yaw, true.mean(), f"{len(found)} of {len(people)}", read.mean(), read.min(), read.max()]
        values.append(np.abs(read - yaw).mean())
        plain = [value if isinstance(value, str) else float(value) for value in values]
        rows.append(dict(zip(YAW_COLUMNS, plain, strict=True)))
    return rows


class _RenderedPerson:
    """A random person in a random light, filmed from the front."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.person = Person.random(rng)
        self._renderer = Renderer(self.person, Scene.random(rng))

    def state(self, yaw: float) -> State:
        """Return a state with a rotated head."""
        return State(opening=0.2, yaw_degrees=yaw)

    def image(self, yaw: float) -> NDArray[np.uint8]:
        """Return the rendered person, (512, 512, 3)."""
        upright = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=np.float32)
        return self._renderer.render(self.state(yaw), upright, (512, 512))


def nose_depth(detector: str) -> float:
    """Return the depth of the nose that belongs to a detector's anchors."""
    return NOSE_DEPTH_FIVE_POINTS if resolve_detector(detector) == "mtcnn" else NOSE_DEPTH_68_POINTS


def video_row(path: Path, detector: str) -> dict[str, Any]:
    """Return a row of the second table."""
    plan = find_face(probe_video(path), FPS, build_detector(detector))
    yaw = yaw_degrees(plan.anchors, nose_depth(detector))
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
        print(markdown_table(YAW_COLUMNS, rendered_rows(given.detector)))
        if given.videos:
            print(markdown_table(VIDEO_COLUMNS, [video_row(path, given.detector) for path in given.videos]))
        return 0

    return run_command(run, when_stopped="nothing was written")


if __name__ == "__main__":
    sys.exit(main())
