import hashlib
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from latentsync.errors import CheckpointError
from latentsync.face.mtcnn import anchors_from_five
from latentsync.face.xseg import XSegOccluder, require_xseg

EYES_NOSE_MOUTH = np.array([[150.0, 160.0], [210.0, 160.0], [180.0, 195.0], [156.0, 232.0], [204.0, 232.0]])

STAND_IN = {
    "__init__.py": "",
    "constants.py": """
from enum import Enum
class XSegWeights(str, Enum):
    DEFAULT = "xseg"
class ModelInfo:
    sha256 = "SHA"
MODEL_REGISTRY = {XSegWeights.DEFAULT: ModelInfo}
""",
    "model_store.py": """
import hashlib
def get_cache_dir():
    return FOLDER
def verify_file_hash(path, expected):
    return hashlib.sha256(open(path, "rb").read()).hexdigest() == expected
""",
    "face_utils.py": """
import numpy as np
reference_alignment = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
""",
    "parsing.py": """
import numpy as np
class XSeg:
    def __init__(self, align_size):
        assert align_size == 256
    def parse_aligned(self, crop):  # in these tests faces are red, in BGR the last channel
        return (crop[..., 2].astype(np.float32) / 255).clip(0, 1)
""",
}
"""The parts of uniface 4.2.1 that are used."""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a stand-in for uniface; return the path of its weights, which exist."""
    weights = tmp_path / "models" / "xseg.onnx"
    weights.parent.mkdir()
    weights.write_bytes(b"weights")
    package = tmp_path / "packages" / "uniface"
    package.mkdir(parents=True)
    for name, text in STAND_IN.items():
        text = text.replace("FOLDER", repr(str(weights.parent))).replace("SHA", hashlib.sha256(b"weights").hexdigest())
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(package.parent)
    for name in [name for name in sys.modules if name.partition(".")[0] == "uniface"]:
        monkeypatch.delitem(sys.modules, name)
    yield weights
    for name in [name for name in sys.modules if name.partition(".")[0] == "uniface"]:
        del sys.modules[name]


def red_face() -> np.ndarray:
    """A red face on a green background."""
    frame = np.zeros((400, 360, 3), dtype=np.uint8)
    frame[..., 1] = 255
    return cv2.ellipse(frame, (180, 200), (85, 115), 0, 0, 360, (255, 0, 0), -1)


def test_a_thing_before_the_mouth_is_found_and_the_background_is_not(stand_in: Path):
    occluder, anchors = XSegOccluder(), anchors_from_five(EYES_NOSE_MOUTH)
    assert not occluder.mask(red_face(), anchors).any()
    frame = cv2.circle(red_face(), (190, 235), 18, (0, 0, 255), -1)
    mask = occluder.mask(frame, anchors)
    assert mask.shape == frame.shape[:2]
    assert mask.dtype == np.uint8
    blue = (frame[..., 2] == 255).astype(np.uint8)
    assert (mask[cv2.erode(blue, np.ones((5, 5))) > 0] == 255).all()
    assert not mask[cv2.dilate(blue, np.ones((5, 5))) == 0].any()


def test_the_crop_has_the_alignment_of_the_package(stand_in: Path):
    occluder, crops = XSegOccluder(), []
    occluder._parser.parse_aligned = lambda crop: crops.append(crop) or np.ones((256, 256), dtype=np.float32)
    frame = np.zeros((400, 360, 3), dtype=np.uint8)
    for x, y in EYES_NOSE_MOUTH[:3].astype(int).tolist():
        cv2.circle(frame, (x, y), 3, (255, 255, 255), -1)
    occluder.mask(frame, anchors_from_five(EYES_NOSE_MOUTH))
    expected = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366]]) * 2 + (16, 0)
    for x, y in expected.round().astype(int).tolist():
        assert crops[0][y - 5 : y + 6, x - 5 : x + 6].max() > 200


def test_without_the_package_or_its_weights_one_line_says_what_is_missing(
    stand_in: Path, monkeypatch: pytest.MonkeyPatch
):
    assert require_xseg() == stand_in
    stand_in.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=r"xseg\.onnx are damaged: .*downloads them"):
        require_xseg()
    stand_in.unlink()
    with pytest.raises(CheckpointError, match=r"requires XSeg's weights .*xseg\.onnx: .*downloads them"):
        XSegOccluder()
    for name in [name for name in sys.modules if name.partition(".")[0] == "uniface"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uniface", None)
    with pytest.raises(CheckpointError, match=r"requires the package uniface: pip install --editable '\.\[occluder\]'"):
        require_xseg()
