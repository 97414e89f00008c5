"""A talking clip: one person in one scene speaking, as full frames, aligned crops or video files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d

from demo.synthetic.camera import Camera
from demo.synthetic.drawing import Bytes, Floats
from demo.synthetic.person import Person
from demo.synthetic.renderer import Renderer, State, anchors
from demo.synthetic.scene import Scene
from demo.synthetic.speech import SAMPLE_RATE, Speech, random_speech, write_wav
from demo.synthetic.varied import varied_person, varied_scene
from latentsync.audio.mouth_track import mouth_track, sample_track
from latentsync.face.align import Aligner, invert, tall_size
from latentsync.media.ffmpeg_tools import raw_video_input
from latentsync.media.transcode import encode_frames
from latentsync.storage.temporary_files import temporary_folder

FPS = 25
"""Frames per second of all synthetic clips."""
FRAME_SIZE = 512
"""Side of the full frame in pixels."""
_JITTER = 0.02
"""Deviation of detected anchors from the true ones, as a share of the eye distance."""
_CROP_SUPERSAMPLING = 2.0

Alignment = Literal["aligned", "fixed_box"]
Look = Literal["plain", "varied"]
"""People and scenes of `Person.random`, or those of `demo.synthetic.varied` with a `Camera`."""


@dataclass(frozen=True)
class HeadTurns:
    """Range of the head's small turns to the side and up or down, as shifts of the front of the face in face units.

    Attributes:
        rest: deviation of the mean of a clip.
        sway: deviation around it.
        limit: largest turn.
    """

    rest: tuple[float, float] = (0.05, 0.02)
    sway: tuple[float, float] = (0.05, 0.025)
    limit: tuple[float, float] = (1.0, 1.0)

    def at(self, rest: Floats, sway: tuple[float, float]) -> tuple[float, float]:
        """Return the turn for a mean and unit sway."""
        yaw, pitch = (
            float(np.clip(mean + size * step, -limit, limit))
            for mean, size, step, limit in zip(rest, self.sway, sway, self.limit, strict=True)
        )
        return yaw, pitch


VARIED_TURNS = HeadTurns((0.14, 0.04), (0.08, 0.04), (0.36, 0.12))
"""As far as such shifts look natural: `head_pose.yaw_degrees` reads up to 14 degrees from the anchors, 11 without a
pitch. `head_rotation` renders more."""


@dataclass(frozen=True)
class Framing:
    """Mean pose of a head in a frame: eye distance and centre between the eyes (x, y) in pixels, tilt in radians."""

    eye_distance: float
    x: float
    y: float
    tilt: float


def smooth_walk(rng: np.random.Generator, num_frames: int, sigma_s: float) -> Floats:
    """Return smooth noise (n,) of mean near 0 and deviation near 1; a larger `sigma_s` makes it slower."""
    sigma = sigma_s * FPS
    pad = int(4 * sigma) + 1
    noise = gaussian_filter1d(rng.standard_normal(num_frames + 2 * pad), sigma)[pad:-pad]
    return (noise * np.sqrt(2.0 * sigma * np.sqrt(np.pi))).astype(np.float32)


def random_states(
    rng: np.random.Generator, track: Floats, framing: Framing, liveliness: float = 1.0, turns: HeadTurns = HeadTurns()
) -> list[State]:
    """Return random head and eye motion for each row of a mouth track.

    Args:
        rng: source of the random choices.
        track: (n, 2), opening and width.
        framing: mean pose of the head.
        liveliness: factor of the head's motion.
        turns: range of the head's turns.
    """
    count = len(track)
    sway = [smooth_walk(rng, count, s) * liveliness for s in (0.7, 0.6, 0.9, 0.6, 0.5, 0.8, 0.3)]
    rest_turn = rng.normal(0.0, turns.rest)
    blinks, gazes = _blinks(rng, count), _gazes(rng, count)
    result = []
    for i in range(count):
        scale = framing.eye_distance * (1.0 + 0.015 * float(sway[2][i]))
        shift = np.array([0.05 * sway[0][i], 0.035 * sway[1][i]]) * framing.eye_distance
        place = np.array([framing.x, framing.y]) + shift
        rest = np.array([framing.x, framing.y]) + 0.35 * shift
        result.append(State(
            opening=float(track[i, 0]), width=float(track[i, 1]), blink=float(blinks[i]),
            gaze=(float(gazes[i, 0]), float(gazes[i, 1])),
            turn=turns.at(rest_turn, (sway[3][i], sway[4][i])),
            brow=float(np.clip(0.02 * sway[6][i], -0.03, 0.06)),
            head=_pose(scale, framing.tilt + 0.035 * float(sway[5][i]), place),
            body=_pose(framing.eye_distance, 0.3 * framing.tilt, rest),
        ))  # fmt: skip
    return result


def _pose(scale: float, angle: float, place: np.ndarray) -> Floats:
    """Return the matrix from face units to pixels of a head tilted about the neck, 1.6 units below the eyes."""
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    pivot = np.array([0.0, 1.6])
    offset = place + scale * pivot - turn @ pivot
    return np.column_stack([turn, offset]).astype(np.float32)


def _blinks(rng: np.random.Generator, count: int) -> Floats:
    closed = np.zeros(count, dtype=np.float32)
    shape = np.array([0.35, 0.9, 1.0, 0.7, 0.3], dtype=np.float32)
    position = int(rng.integers(5, 90))
    while position < count:
        part = shape[: count - position]
        closed[position : position + len(part)] = part
        position += int(rng.integers(40, 130))
    return np.maximum(closed, np.float32(max(0.0, rng.normal(0.0, 0.08))))


def _gazes(rng: np.random.Generator, count: int) -> Floats:
    gaze = np.zeros((count, 2), dtype=np.float32)
    position = 0
    while position < count:
        length = int(rng.integers(12, 70))
        gaze[position : position + length] = rng.normal(0.0, (0.022, 0.010))
        position += length
    return gaze


class TalkingClip:
    """Clip that is a function of (seed, index), the duration and, if given, other speech.

    Args:
        seed, index: determine person, scene, motion and speech.
        duration_s: length of random speech; ignored if `speech` is given.
        speech: samples (s,) in [-1, 1] at 16 kHz instead of random speech.
        frame_size: side of the square full frame in pixels.
        liveliness: factor of the head's motion.
        person: replaces the random person.
        look: variety of people, scenes, poses and cameras.

    Attributes:
        person, scene, camera: what is rendered, and how it is recorded.
        samples: the speech (s,) at 16 kHz.
        track: (n, 2) mouth opening and width at 100 Hz.
        frame_track: (f, 2) mouth of frame i, at i / 25 s.
        states: motion of each frame.
    """

    def __init__(
        self, seed: int, index: int, duration_s: float, speech: Floats | None = None, frame_size: int = FRAME_SIZE,
        liveliness: float = 1.0, person: Person | None = None, look: Look = "plain",
    ) -> None:  # fmt: skip
        self.seed, self.index, self.frame_size, self.look = seed, index, frame_size, look
        appearance, self._move, say = (np.random.default_rng([seed, index, part]) for part in range(3))
        is_varied = look == "varied"
        self.person = varied_person(appearance) if is_varied else Person.random(appearance)
        self.scene = varied_scene(appearance) if is_varied else Scene.random(appearance)
        self.camera = Camera.random(appearance) if is_varied else Camera()
        if person is not None:
            self.person = person
        self.speech: Speech | None = None
        if speech is None:
            self.speech = random_speech(say, duration_s, self.person.feminine)
            speech = self.speech.samples
        self.samples = speech
        self.track = mouth_track(speech)
        num_frames = round(len(speech) / SAMPLE_RATE * FPS)
        self.frame_track = sample_track(self.track, np.arange(num_frames, dtype=np.float32) / FPS)
        self.framing = _framing(self._move, frame_size)
        turns = VARIED_TURNS if is_varied else HeadTurns()
        self.states = random_states(self._move, self.frame_track, self.framing, liveliness, turns)

    def anchors(self) -> Floats:
        """Return the true alignment anchors (f, 3, 2) in pixels of the full frame."""
        return np.stack([anchors(self.person, state) for state in self.states])

    def frames(self, supersample: float = 2.0) -> Iterator[Bytes]:
        """Render full frames, RGB uint8 (size, size, 3)."""
        renderer = Renderer(self.person, self.scene, density=supersample * self.framing.eye_distance)
        camera = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=np.float32)
        size, rng = (self.frame_size, self.frame_size), self._camera_rng()
        for state in self.states:
            yield self.camera.expose(renderer.render(state, camera, size, size, supersample), rng)

    def crops(self, resolution: int = 128, alignment: Alignment = "aligned") -> Iterator[Bytes]:
        """Render crops of the face, RGB uint8 (resolution, resolution, 3).

        Args:
            resolution: side in pixels.
            alignment: "aligned" for crops as the aligner makes them, with a detector's imprecision; "fixed_box" for
                one upright square, as large as the face in the first frame, that does not follow the face.
        """
        renderer = Renderer(self.person, self.scene, density=50.0 * _CROP_SUPERSAMPLING * resolution / 128.0)
        aligner, detected = Aligner(resolution), self._detected()
        size = (self.frame_size, self.frame_size)
        box, rng = _fixed_box(detected[0], resolution), self._camera_rng()
        for state, points in zip(self.states, detected, strict=True):
            camera = aligner.matrix(points) if alignment == "aligned" else box
            crop = renderer.render(state, camera, (resolution, resolution), size, _CROP_SUPERSAMPLING)
            yield self.camera.expose(crop, rng)

    def _camera_rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.index, 5])

    def _detected(self) -> Floats:
        """Return anchors (f, 3, 2) with a detector's errors: a constant and a slow wobble."""
        rng = np.random.default_rng([self.seed, self.index, 3])
        truth = self.anchors()
        wobble = np.stack([smooth_walk(rng, len(truth), 0.15) for _ in range(6)], axis=1).reshape(-1, 3, 2) * _JITTER
        constant = rng.normal(0.0, 0.02, (3, 2))
        constant[:, 1] += rng.normal(0.0, 0.03)
        constant[2, 1] += rng.normal(0.0, 0.06)
        return (truth + (wobble + constant) * self.framing.eye_distance).astype(np.float32)

    def description(self) -> dict[str, Any]:
        """Return seed, speech, person and scene as plain values."""
        voice = asdict(self.speech.voice) if self.speech else None
        text = self.speech.text if self.speech else None
        return {
            "seed": self.seed, "index": self.index, "look": self.look, "fps": FPS, "voice": voice, "text": text,
            "person": self.person.as_dict(), "scene": self.scene.as_dict(), "camera": asdict(self.camera),
        }  # fmt: skip


def _fixed_box(points: Floats, resolution: int) -> Floats:
    """Return the matrix (2, 3) from frame to an upright crop with the centre and height of the aligned crop."""
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


def write_video(clip: TalkingClip, path: Path, crf: int = 18) -> None:
    """Write full frames and speech as H.264 and AAC, atomically. Raises ToolError if ffmpeg is missing or fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"vcodec": "libx264", "crf": crf, "preset": "slow", "pix_fmt": "yuv420p"}
    audio_options = {"acodec": "aac", "audio_bitrate": "96k"}
    with temporary_folder(path.parent, "name another --out") as folder:
        audio = folder / "speech.wav"
        write_wav(audio, clip.samples)
        video = raw_video_input(clip.frame_size, clip.frame_size, FPS)
        encode_frames(clip.frames(), video, audio, path, movflags="+faststart", **options, **audio_options)
