"""Does the mouth in a result follow its speech? Correlation of the mouth opening seen with the opening heard.

    python -m benchmarks.demo_mouth RESULT SPEECH CONTROL

RESULT is a video, SPEECH what drives it and CONTROL another speech, such as the source video: all three are files. The
opening seen comes from the demo's mouth reader (a small network trained on renders, not the SyncNet); the opening heard
is the rule that moves the mouths of the synthetic people. The last column should be near zero.
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


def mouth_seen(video: Path) -> np.ndarray:
    """(f, 2) opening and width at 25 frames per second as the reader sees them; the face must be in all frames."""
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
            picture = ((crop + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
            mouths.append(read_mouth(reader_network, picture)[0])
    return np.stack(mouths)


def mouth_heard(speech: Path, num_frames: int) -> np.ndarray:
    """(f, 2) opening and width at 25 frames per second that this speech gives a synthetic person."""
    with tempfile.TemporaryDirectory() as folder, AudioSamples.decode(speech, Path(folder)) as samples:
        track = mouth_track(samples.read(0, samples.num_samples))
    return sample_track(track, np.arange(num_frames) / 25)


def correlations(result: Path, speech: Path) -> np.ndarray:
    """(2,) correlation of the opening and of the width, over the frames that both have."""
    seen = mouth_seen(result)
    heard = mouth_heard(speech, len(seen))
    return np.array([np.corrcoef(seen[:, i], heard[:, i])[0, 1] for i in range(2)])


def main() -> None:
    """Prints the correlations with the driving speech and with the control."""
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
