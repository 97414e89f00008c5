"""Measure how a generated mouth follows its audio: correlation of the opening in the video with that of the audio.

    python -m benchmarks.demo_mouth RESULT SPEECH CONTROL

RESULT is a generated video, SPEECH its driving audio and CONTROL other audio, such as that of the source video. The
opening in the video is predicted by the demo's mouth reader (a small network trained on renders, independent of the
SyncNet); that of the audio is the rule that moves the mouths of the synthetic people. The correlation with CONTROL
should be near zero.
"""

import argparse
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np

from latentsync.audio.mouth_track import mouth_track, sample_track
from latentsync.cli import OneLineParser
from latentsync.face.align import alignment_matrices, crop_faces
from latentsync.face.detector import build_detector
from latentsync.face.face_plan import plan_face
from latentsync.judges.crop_measures import to_crops
from latentsync.judges.mouth_reader import load_mouth_reader, read_mouth
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.reader import VideoReader
from latentsync.weights import CHECKPOINTS

RESOLUTION = 128


def video_mouth(video: Path) -> np.ndarray:
    """Return (f, 2) opening and width at 25 frames per second as predicted by the mouth reader.

    Raises:
        ValueError: a frame does not contain the face.
    """
    with VideoReader(video, Fraction(25)) as reader:
        plan = plan_face(reader, build_detector("mtcnn"))
    if plan.segments() != [(0, len(plan))]:
        raise ValueError(f"{video}: not every frame contains the face")
    matrices = alignment_matrices(plan.anchors, RESOLUTION)
    reader_network = load_mouth_reader(CHECKPOINTS / "demo" / "mouth_reader.pt")
    mouths = []
    with VideoReader(video, Fraction(25)) as reader:
        for frame, matrix in zip(reader, matrices, strict=True):
            crop = crop_faces([frame], matrix[None], RESOLUTION)
            mouths.append(read_mouth(reader_network, to_crops(crop))[0])
    return np.stack(mouths)


def audio_mouth(speech: Path, num_frames: int) -> np.ndarray:
    """Return (f, 2) opening and width at 25 frames per second of a synthetic person with this audio."""
    with tempfile.TemporaryDirectory() as folder, AudioSamples.decode(speech, Path(folder)) as samples:
        track = mouth_track(samples.read(0, samples.num_samples))
    return sample_track(track, np.arange(num_frames) / 25)


def correlations(mouth: np.ndarray, speech: Path) -> np.ndarray:
    """Return the (2,) correlations of opening and width, (f, 2), with those of an audio file."""
    expected = audio_mouth(speech, len(mouth))
    return np.array([np.corrcoef(mouth[:, i], expected[:, i])[0, 1] for i in range(2)])


def main() -> None:
    """Print the correlations with the driving audio and with the control."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("control", type=Path)
    arguments = parser.parse_args()
    mouth = video_mouth(arguments.result)
    for name, speech in (("driving speech", arguments.speech), ("control", arguments.control)):
        opening, width = correlations(mouth, speech)
        print(f"{name}: opening {opening:.3f}, width {width:.3f}")


if __name__ == "__main__":
    main()
