"""Weights in the repository are found whatever the working folder is."""

import subprocess
import sys
from pathlib import Path

from tests.repository_copy import add_stand_ins, copy_repository, environment_of

BUILD_ALL = """
import sys
from pathlib import Path

import latentsync
from eval.face_clips import FaceClips
from latentsync.errors import CheckpointError
from latentsync.face.detector import build_detector

for build in (
    lambda: FaceClips(Path("cache")).geometry(Path(sys.argv[1])),
    lambda: build_detector("face_alignment"),
):
    try:
        build()
    except CheckpointError as error:
        print(error)
"""


def test_the_weights_of_face_networks_are_found_from_another_folder(tmp_path: Path):
    copy = copy_repository(tmp_path / "a copy")
    add_stand_ins(copy / "checkpoints")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    command = [sys.executable, "-c", BUILD_ALL, str(copy / "assets" / "demo1_video.mp4")]
    environment = environment_of(copy, tmp_path / "home")
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    found = f"cannot load {copy / 'checkpoints/auxiliary/s3fd-619a316812.pth'}"  # it is zeros
    assert [line.startswith(found) for line in done.stdout.splitlines()] == [True] * 2, done.stdout
