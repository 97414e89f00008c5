"""Correlate the mouth motion in a video with the mouth motion that corresponds to an audio file.

    python -m benchmarks.demo_mouth RESULT SPEECH CONTROL

RESULT is a video, SPEECH its driving audio and CONTROL another speech, such as the source video; all three are files.
Opening and width in the video are predicted by the demo's mouth reader, a small network trained on rendered people.
Those of the audio come from the rule that moves the mouths of the synthetic people. The control should be near zero.
"""

import argparse
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np

from demo.synthetic.mouth_track import mouth_track, sample_track
from latentsync.cli import OneLineParser
from latentsync.face.align import alignment_matrices, crop_faces
from latentsync.face.detector import build_detector
from latentsync.face.face_plan import plan_face
from latentsync.judges.mouth_reader import load_mouth_reader, read_mouth
from latentsync.media.audio_samples import AudioSamples
from latentsync.media.reader import VideoReader
from latentsync.weights import CHECKPOINTS

RESOLUTION = 128


def mouth_of_video(video: Path) -> np.ndarray:
    """Predict opening and width (f, 2) at 25 frames per second; every frame must have the face."""
    with VideoReader(video, Fraction(25)) as reader:
        plan = plan_face(reader, build_detector("mtcnn"))
    if plan.segments() != [(0, len(plan))]:
        raise ValueError(f"{video}: the face is not in every frame")
    matrices = alignment_matrices(plan.anchors, RESOLUTION)
    reader_network = load_mouth_reader(CHECKPOINTS / "demo" / "mouth_reader.pt")
    mouths = []
    with VideoReader(video, Fraction(25)) as reader:
        for frame, matrix in zip(reader, matrices, strict=True):
            crop = crop_faces([frame], matrix[None], RESOLUTION)
            image = ((crop + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
            mouths.append(read_mouth(reader_network, image)[0])
    return np.stack(mouths)


def mouth_of_audio(speech: Path, num_frames: int) -> np.ndarray:
    """Compute opening and width (f, 2) at 25 frames per second of a synthetic person with this speech."""
    with tempfile.TemporaryDirectory() as folder, AudioSamples.decode(speech, Path(folder)) as samples:
        track = mouth_track(samples.read(0, samples.num_samples))
    return sample_track(track, np.arange(num_frames) / 25)


def correlations(result: Path, speech: Path) -> np.ndarray:
    """Return the correlations (2,) of opening and width."""
    predicted = mouth_of_video(result)
    expected = mouth_of_audio(speech, len(predicted))
    return np.array([np.corrcoef(predicted[:, i], expected[:, i])[0, 1] for i in range(2)])


def main() -> None:
    """Print the correlations with the driving audio and with the control."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("speech", type=Path)
    parser.add_argument("control", type=Path)
    arguments = parser.parse_args()
    for name, speech in (("driving speech", arguments.speech), ("control", arguments.control)):
        opening, width = correlations(arguments.result, speech)
        print(f"{name}: opening {opening:.3f}, width {width:.3f}")


if __name__ == "__main__":
    main()
