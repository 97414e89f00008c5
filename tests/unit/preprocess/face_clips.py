"""Segments with three bright dots at the anchors of a face, on a dark background."""

from pathlib import Path

import numpy as np

from latentsync.face.align import tall_size
from preprocess.step import Clip
from preprocess.steps.single_face import SingleFace, write_single_face
from tests.unit.data.clips import ffmpeg, speech, write_wav

SIZE = 160
TALL_TEMPLATE = np.array([[17.0, 20.0], [58.0, 20.0], [37.5, 40.0]]) * 2.8 / 256
"""Left brow, right brow, nose in the tall crop, in units of the resolution, as published."""


def anchors(num_frames: int, side: float = 60.0, turn: float = 0.3, seed: int = 0) -> np.ndarray:
    """Return (n, 3, 2) float32 anchors of the template's shape that slowly move, rotate and grow."""
    rng = np.random.default_rng(seed)
    phase = np.linspace(0, 1, num_frames)
    scale = side * (1 + 0.2 * phase)
    angle = turn * (phase - 0.5)
    centre = np.array([SIZE / 2, SIZE / 2]) + rng.uniform(-8, 8, 2) + np.stack([6 * phase, -4 * phase], axis=1)
    shape = TALL_TEMPLATE - TALL_TEMPLATE.mean(axis=0)
    rotation = np.stack([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    points = np.einsum("nij,kj->nki", rotation, shape) * scale[:, None, None] + centre[:, None]
    return points.astype(np.float32)


def template(resolution: int) -> np.ndarray:
    """Return the (3, 2) positions of the anchors in the square crop in pixels; integers are pixel centres."""
    width, height = tall_size(resolution)
    return (TALL_TEMPLATE * resolution + 0.5) * [resolution / width, resolution / height] - 0.5


def face_of(points: np.ndarray) -> SingleFace:
    """Return a face that is detected in every frame, with anchors (n, 3, 2)."""
    low, high = points.min(axis=1) - 20, points.max(axis=1) + 20
    n = len(points)
    return SingleFace(
        np.concatenate([low, high], axis=1), points, np.full(n, 0.99, dtype=np.float32), np.ones(n, dtype=bool)
    )


def dotted_frame(points: np.ndarray) -> np.ndarray:
    """Return a dark frame with a soft red, green and blue dot at (3, 2) points."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    frame = np.full((SIZE, SIZE, 3), 20.0)
    for channel, (x, y) in enumerate(points):
        frame[..., channel] += 200 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 3.0**2))
    return frame.round().astype(np.uint8)


def dots(frame: np.ndarray) -> np.ndarray:
    """Return the (3, 2) centres of the dots in a frame."""
    rows, columns = np.mgrid[: frame.shape[0], : frame.shape[1]]
    weights = np.clip(frame.astype(np.float64) - 110, 0, None)
    return np.array([[(w * columns).sum() / w.sum(), (w * rows).sum() / w.sum()] for w in weights.transpose(2, 0, 1)])


def write_segment(path: Path, points: np.ndarray, seed: int = 0) -> Path:
    """Write a segment in the format of step 4: H.264, 25 fps, BT.709, ALAC at 16 kHz."""
    wav = path.with_suffix(".wav")
    write_wav(wav, speech(len(points) / 25, seed))
    raw = b"".join(dotted_frame(frame_points).tobytes() for frame_points in points)
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{SIZE}x{SIZE}", "-framerate", "25"]
    colours = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
    encode = ["-vf", "scale=out_color_matrix=bt709:out_range=tv", "-c:v", "libx264", "-crf", "4", "-threads", "1"]
    encode += ["-pix_fmt", "yuv420p", *colours, "-c:a", "alac"]
    ffmpeg(*source, "-i", "pipe:0", "-i", str(wav), *encode, str(path), data=raw)
    wav.unlink()
    return path


def segment(folder: Path, name: str, points: np.ndarray, seed: int = 0) -> Clip:
    """Write a segment and its face sidecar; return the clip as step 6 receives it."""
    path = write_segment(folder / f"{name}.mp4", points, seed)
    faces = folder / f"{name}.faces.npz"
    write_single_face(faces, face_of(points))
    return Clip(key=name, source=name, name=name, path=path, facts={"faces": str(faces), "segment": str(path)})
