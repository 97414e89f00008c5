"""A talking clip: one person in one scene saying one speech, as full frames or as aligned training crops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from demo.synthetic.drawing import Bytes, Floats
from demo.synthetic.motion import FPS, Framing, smooth_walk, states
from demo.synthetic.mouth_track import mouth_track, sample_track
from demo.synthetic.person import Person
from demo.synthetic.renderer import Renderer, anchors
from demo.synthetic.scene import Scene
from demo.synthetic.speech import SAMPLE_RATE, Speech, random_speech
from latentsync.face.align import Aligner, invert, tall_size

Alignment = Literal["aligned", "fixed_box"]

FRAME_SIZE = 512
JITTER = 0.02
CROP_SUPERSAMPLING = 2.0


class TalkingClip:
    """A clip that depends on nothing but (seed, index), the duration and, if given, other speech.

    `track` (n, 2) is the mouth at 100 Hz, `frame_track` (f, 2) the mouth of frame i at i / 25 s, both
    (opening, width); `samples` (s,) is the speech at 16 kHz; `frame_size` is the side of the square full frame.
    """

    def __init__(
        self, seed: int, index: int, duration_s: float, speech: Floats | None = None, frame_size: int = FRAME_SIZE,
        liveliness: float = 1.0,
    ) -> None:  # fmt: skip
        self.seed, self.index, self.frame_size = seed, index, frame_size
        look, self._move, say = (np.random.default_rng([seed, index, part]) for part in range(3))
        self.person, self.scene = Person.random(look), Scene.random(look)
        self.speech: Speech | None = None
        if speech is None:
            self.speech = random_speech(say, duration_s, self.person.feminine)
            speech = self.speech.samples
        self.samples = speech
        self.track = mouth_track(speech)
        num_frames = round(len(speech) / SAMPLE_RATE * FPS)
        self.frame_track = sample_track(self.track, np.arange(num_frames, dtype=np.float32) / FPS)
        self.framing = _framing(self._move, frame_size)
        self.states = states(self._move, self.frame_track, self.framing, liveliness)

    def anchors(self) -> Floats:
        """True alignment anchors (f, 3, 2) in full frame pixels."""
        return np.stack([anchors(self.person, state) for state in self.states])

    def frames(self, supersample: float = 2.0) -> Iterator[Bytes]:
        """Full frames, RGB uint8 (size, size, 3)."""
        renderer = Renderer(self.person, self.scene, density=supersample * self.framing.eye_distance)
        camera = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=np.float32)
        size = (self.frame_size, self.frame_size)
        for state in self.states:
            yield renderer.render(state, camera, size, size, supersample)

    def crops(self, resolution: int = 128, alignment: Alignment = "aligned") -> Iterator[Bytes]:
        """Crops of the face, RGB uint8 (resolution, resolution, 3).

        "aligned": as the aligner makes them, with a detector's imprecision. "fixed_box": one upright square, as large
        as the face is in the first frame, that does not follow the face.
        """
        renderer = Renderer(self.person, self.scene, density=50.0 * CROP_SUPERSAMPLING * resolution / 128.0)
        aligner, detected = Aligner(resolution), self._detected()
        size = (self.frame_size, self.frame_size)
        box = _fixed_box(detected[0], resolution)
        for state, points in zip(self.states, detected, strict=True):
            camera = aligner.matrix(points) if alignment == "aligned" else box
            yield renderer.render(state, camera, (resolution, resolution), size, CROP_SUPERSAMPLING)

    def _detected(self) -> Floats:
        """Anchors (f, 3, 2) as a detector would see them: off by a constant and by a slow wobble."""
        rng = np.random.default_rng([self.seed, self.index, 3])
        truth = self.anchors()
        wobble = np.stack([smooth_walk(rng, len(truth), 0.15) for _ in range(6)], axis=1).reshape(-1, 3, 2) * JITTER
        constant = rng.normal(0.0, 0.02, (3, 2))
        constant[:, 1] += rng.normal(0.0, 0.03)
        constant[2, 1] += rng.normal(0.0, 0.06)
        return (truth + (wobble + constant) * self.framing.eye_distance).astype(np.float32)

    def description(self) -> dict[str, Any]:
        """What was drawn, as plain values."""
        voice = asdict(self.speech.voice) if self.speech else None
        text = self.speech.text if self.speech else None
        return {
            "seed": self.seed, "index": self.index, "fps": FPS, "voice": voice, "text": text,
            "person": self.person.as_dict(), "scene": self.scene.as_dict(),
        }  # fmt: skip


def _fixed_box(points: Floats, resolution: int) -> Floats:
    """Frame to crop (2, 3): the upright square with the centre and the height of the aligned crop of these anchors."""
    tall = Aligner(resolution).tall_matrix(points)
    width, height = tall_size(resolution)
    centre = invert(tall) @ np.array([(width - 1) / 2, (height - 1) / 2, 1.0])
    scale = np.sqrt(np.linalg.det(tall[:, :2])) * resolution / height
    offset = (resolution - 1) / 2 - scale * centre
    return np.column_stack([scale * np.eye(2), offset]).astype(np.float32)


def _framing(rng: np.random.Generator, size: int) -> Framing:
    return Framing(
        eye_distance=float(rng.uniform(0.115, 0.155)) * size,
        x=float(rng.uniform(0.44, 0.56)) * size,
        y=float(rng.uniform(0.39, 0.44)) * size,
        tilt=float(rng.normal(0.0, 0.05)),
    )
