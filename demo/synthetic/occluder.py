"""A hand, a microphone or a mug that moves in front of the mouth of a synthetic person, with its true mask."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from demo.synthetic.clip import FPS, smooth_walk
from demo.synthetic.drawing import Bytes, Floats
from demo.synthetic.head_rotation import rotated
from demo.synthetic.occluder_drawing import OccluderKind, draw_occluder
from demo.synthetic.person import Person
from demo.synthetic.renderer import State
from demo.synthetic.scene import Scene
from latentsync.media.ffmpeg_tools import raw_video_input
from latentsync.media.transcode import encode_frames
from latentsync.storage.temporary_files import temporary_path

OCCLUDERS: tuple[OccluderKind, ...] = get_args(OccluderKind)

_SUPERSAMPLING = 2.0
_DENSITY = 1.5
"""Pixels of the drawing per pixel of the frame."""
_TRACKING_S = 0.1
"""Deviation of the smoothing with which the thing follows the head."""

_PATHS: dict[OccluderKind, list[tuple[float, float, float, float]]] = {
    "hand": [
        (0.12, 3.0, 7.0, 50.0), (0.26, 2.0, 1.4, 42.0), (0.40, 0.55, 0.62, 34.0), (0.55, -0.15, 0.50, 24.0),
        (0.70, 0.65, 0.66, 34.0), (0.88, 3.0, 7.0, 50.0),
    ],
    "microphone": [
        (0.10, 1.5, 6.0, 0.0), (0.24, 0.12, 0.42, -14.0), (0.42, 0.02, 0.26, -18.0), (0.58, 0.05, 0.10, -16.0),
        (0.76, 0.10, 0.40, -14.0), (0.90, 1.5, 6.0, 0.0),
    ],
    "mug": [
        (0.14, 1.6, 6.0, 0.0), (0.30, 0.1, 1.0, -4.0), (0.38, 0.0, 0.42, -10.0), (0.52, 0.0, 0.34, -16.0),
        (0.62, 0.15, 1.1, -2.0), (0.74, 0.1, 0.9, -2.0), (0.90, 1.6, 6.0, 0.0),
    ],
}  # fmt: skip
"""Points of each path: time as a share of the clip, offset (x, y) from the mouth in face units for an arm that comes
from the right, tilt in degrees clockwise. At both ends the thing is below the frame."""


class Occluder:
    """A thing in front of all else in f frames; its motion and mask do not depend on anyone's speech.

    Args:
        kind: the thing.
        rng: source of the random choices: side, colours, tremor.
        person: whose mouth it hides, and whose arm holds it.
        scene: light and colour grade.
        states: the person's state in each frame.
        frame_size: (w, h) in pixels.
        name: of the person, for descriptions.
    """

    def __init__(
        self, kind: OccluderKind, rng: np.random.Generator, person: Person, scene: Scene, states: Sequence[State],
        frame_size: tuple[int, int], name: str = "",
    ) -> None:  # fmt: skip
        self.kind: OccluderKind = kind
        self.name, self._person, self._states, self._size = name, person, states, frame_size
        self._side = float(rng.choice([-1.0, 1.0]))
        scale = max(float(np.linalg.norm(state.body[:, 0])) for state in states)
        self._layer = draw_occluder(kind, rng, person, scene, self._side, _DENSITY * scale)
        self._poses = self._random_poses(rng)

    def over(self, frames: Iterable[Bytes]) -> Iterator[Bytes]:
        """Draw the thing over all frames (h, w, 3) uint8 RGB."""
        for index, frame in enumerate(frames):
            yield self.draw(frame, index)

    def masks(self) -> Iterator[Bytes]:
        """Yield the mask (h, w) uint8 of each frame: 255 in front, 0 where the frame is unchanged."""
        return (self.mask(index) for index in range(len(self._states)))

    def draw(self, frame: Bytes, index: int) -> Bytes:
        """Return frame `index`, (h, w, 3) uint8 RGB, with the thing in front."""
        top = self._rendered(index)
        rest = cv2.cvtColor(255 - top[..., 3], cv2.COLOR_GRAY2RGB)
        return np.asarray(cv2.add(cv2.multiply(frame, rest, scale=1.0 / 255.0), top[..., :3]), dtype=np.uint8)

    def mask(self, index: int) -> Bytes:
        """Return the mask (h, w) uint8 of frame `index`."""
        return self._rendered(index)[..., 3]

    def description(self) -> dict[str, Any]:
        """Return the thing, its person and the hidden share of the mouth in each frame, as plain values."""
        hidden = np.round(self.mouth_hidden().astype(np.float64), 3).tolist()
        return {"kind": self.kind, "person": self.name, "mouth_hidden": hidden}

    def mouth_hidden(self) -> Floats:
        """Return (f,): the share of the closed mouth's box that is hidden."""
        result = np.zeros(len(self._states), dtype=np.float32)
        person, (width, height) = self._person, self._size
        for index, state in enumerate(self._states):
            half = np.array([person.mouth_width, 0.5 * (person.upper_lip + person.lower_lip)])
            centre = np.array([0.0, person.mouth_y])
            corners = np.stack([centre - half, centre + half]) + 0.8 * np.array(state.turn)
            corners = rotated(corners, state.yaw_degrees)
            (x0, y0), (x1, y1) = corners @ state.head[:, :2].T + state.head[:, 2]
            columns = slice(max(0, round(x0)), min(width, round(x1) + 1))
            rows = slice(max(0, round(y0)), min(height, round(y1) + 1))
            result[index] = float(self.mask(index)[rows, columns].mean()) / 255.0
        return result

    def _rendered(self, index: int) -> Bytes:
        """Return premultiplied RGBA (h, w, 4) of the thing in a frame; 0 where it is transparent."""
        canvas, (width, height) = self._layer.canvas, self._size
        to_units = np.array([
            [1.0 / canvas.density, 0.0, canvas.x0 + 0.5 / canvas.density],
            [0.0, 1.0 / canvas.density, canvas.y0 + 0.5 / canvas.density], [0.0, 0.0, 1.0],
        ])  # fmt: skip
        matrix = _SUPERSAMPLING * (self._poses[index] @ to_units)
        matrix[:, 2] += 0.5 * _SUPERSAMPLING - 0.5
        large = (round(width * _SUPERSAMPLING), round(height * _SUPERSAMPLING))
        drawn = cv2.warpAffine(self._layer.image, matrix, large)
        result = np.asarray(cv2.resize(drawn, self._size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        result[result[..., 3] == 0] = 0
        return result

    def _random_poses(self, rng: np.random.Generator) -> Floats:
        """Return the matrices (f, 2, 3) from the thing's face units to pixels."""
        count, points = len(self._states), np.array(_PATHS[self.kind])
        share = np.clip(np.arange(count) / max(count - 1, 1), points[0, 0], points[-1, 0])
        x, y, degrees = PchipInterpolator(points[:, 0], points[:, 1:])(share).T
        tremor = [0.03 * smooth_walk(rng, count, 0.25) for _ in range(2)]
        angle = np.deg2rad(self._side * (degrees + 2.0 * smooth_walk(rng, count, 0.4)))
        mouth = np.array([0.0, self._person.mouth_y])
        sway = np.stack([(s.head - s.body) @ np.append(mouth, 1.0) for s in self._states])
        sway = gaussian_filter1d(sway, _TRACKING_S * FPS, axis=0, mode="nearest")
        poses = np.empty((count, 2, 3), dtype=np.float64)
        for k, state in enumerate(self._states):
            scale = float(np.linalg.norm(state.body[:, 0]))
            offset = mouth + np.array([self._side * x[k] + tremor[0][k], y[k] + tremor[1][k]])
            turn = np.array([[np.cos(angle[k]), -np.sin(angle[k])], [np.sin(angle[k]), np.cos(angle[k])]])
            poses[k, :, :2] = scale * turn
            poses[k, :, 2] = state.body[:, :2] @ offset + state.body[:, 2] + sway[k]
        return poses


def write_mask_video(masks: Iterable[Bytes], size: tuple[int, int], path: Path) -> None:
    """Write masks (h, w) uint8 of `size` (w, h) as a lossless grey video (FFV1), atomically.

    Raises:
        ToolError: ffmpeg is missing or fails.
    """
    video = raw_video_input(*size, FPS, pix_fmt="gray")
    encode_frames(masks, video, None, path, vcodec="ffv1", pix_fmt="gray", threads=1, fflags="+bitexact")


def write_mask_images(masks: Iterable[Bytes], folder: Path) -> None:
    """Write masks (h, w) uint8 as `00000.png` and so on into a new folder, which appears whole or not at all."""
    partial = temporary_path(folder)
    partial.mkdir(parents=True)
    try:
        for index, mask in enumerate(masks):
            _, packed = cv2.imencode(".png", mask)
            (partial / f"{index:05d}.png").write_bytes(packed.tobytes())
        os.replace(partial, folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
