"""The ComfyUI nodes against a stand-in of ComfyUI's interface and a server with the contract of the service."""

import ast
import importlib.util
import io
import sys
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from latentsync.media.reader import VideoReader
from latentsync.media.writer import VideoWriter
from latentsync.weights import REPOSITORY_ROOT
from tests.service_stand_in import ServiceStandIn, service_stand_in

NODES = REPOSITORY_ROOT / "integrations" / "comfyui" / "latentsync_nodes.py"
STAND_IN = REPOSITORY_ROOT / "tests" / "comfyui_stand_in"
OPTIONS = {"guidance_scale": 1.5, "seed": 7, "loop_mode": "bounce"}
RATE = 16000


@pytest.fixture
def service() -> Iterator[ServiceStandIn]:
    with service_stand_in() as running:
        yield running


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(STAND_IN))
    monkeypatch.delenv("LATENTSYNC_API_KEY", raising=False)
    spec = importlib.util.spec_from_file_location("latentsync_nodes", NODES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.001)
    module.folder_paths.base = str(tmp_path)
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
    yield module
    for name in ("comfy", "comfy.utils", "comfy.model_management", "folder_paths"):
        sys.modules.pop(name, None)


def images(num_frames: int = 5, height: int = 49, width: int = 63) -> torch.Tensor:
    """Return smooth coloured frames that differ."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return torch.stack([torch.stack((x, y, (x + y + i / 5) / 3), dim=-1) for i in range(num_frames)])


def audio(seconds: float, channels: int = 2) -> dict[str, Any]:
    return {"waveform": torch.linspace(-0.5, 0.5, round(seconds * RATE)).repeat(1, channels, 1), "sample_rate": RATE}


def test_images_and_speech_arrive_at_the_server_and_its_video_comes_back(nodes: ModuleType, service: ServiceStandIn):
    given = images()
    got, sound, fps = nodes.LatentSyncImages().lipsync(given, 29.97, audio(0.1), service.url, **OPTIONS, face="left")
    assert fps == pytest.approx(29.97)
    assert got.dtype == torch.float32
    assert got.shape == given.shape
    assert (got - given).abs().max() < 0.05
    assert sound["waveform"].shape == (1, 2, round(5 / 29.97 * RATE))
    assert torch.equal(sound["waveform"][..., :1600], audio(0.1)["waveform"])
    assert not sound["waveform"][..., 1600:].any()
    fields = {name: value for name, value in service.fields.items() if isinstance(value, str)}
    assert fields == {"guidance_scale": "1.5", "seed": "7", "loop_mode": "bounce", "face": "left", "silence": "off"}
    assert service.names == {"video": "video.mp4", "audio": "speech.wav"}
    with wave.open(io.BytesIO(service.fields["audio"])) as file:
        assert (file.getnchannels(), file.getframerate(), file.getnframes()) == (2, RATE, 1600)
        samples = np.frombuffer(file.readframes(1600), "<i2").reshape(-1, 2) / 32767
    assert np.abs(samples - audio(0.1)["waveform"][0].T.numpy()).max() < 1e-4
    assert list((Path(nodes.folder_paths.base) / "temp").iterdir()) == []


def test_the_upload_is_read_by_the_pipelines_reader_without_a_shift_of_colours(
    nodes: ModuleType, service: ServiceStandIn, tmp_path: Path
):
    given = images(4, 64, 80)
    nodes.LatentSyncImages().lipsync(given, 25.0, audio(0.1), service.url, **OPTIONS)
    (tmp_path / "upload.mp4").write_bytes(service.fields["video"])
    with VideoReader(tmp_path / "upload.mp4") as reader:
        frames = np.stack(list(reader))
    difference = np.abs(frames / 255 - given.numpy())
    assert difference.max() < 0.05
    assert difference.mean() < 0.01


def test_the_colours_of_a_result_are_those_that_the_library_wrote(
    nodes: ModuleType, service: ServiceStandIn, tmp_path: Path
):
    frames = (images(4, 48, 62) * 255).round().byte().numpy()
    with VideoWriter(tmp_path / "result.mp4", 62, 48, Fraction(25), crf=0) as writer:
        for frame in frames:
            writer.write(frame)
    service.result = (tmp_path / "result.mp4").read_bytes()
    got, _, fps = nodes.LatentSyncImages().lipsync(images(1, 47, 61), 25.0, audio(0.1), service.url, **OPTIONS)
    assert fps == 25
    assert got.shape == (4, 47, 61, 3)  # an odd side is that of the images again
    with VideoReader(tmp_path / "result.mp4") as reader:
        expected = np.stack(list(reader))[:, :47, :61] / 255
    assert np.abs(got.numpy() - expected).mean() < 0.01


def test_the_path_variant_writes_into_the_output_folder(nodes: ModuleType, service: ServiceStandIn, tmp_path: Path):
    (tmp_path / "input" / "talk.mov").write_bytes(b"a video")
    paths = []
    for _ in range(2):
        service.num_polls = 0
        done = nodes.LatentSyncVideo().lipsync(
            "talk.mov", "dubs/anna", audio(0.1), service.url, **OPTIONS, num_inference_steps=4
        )
        paths.append(done["result"][0])
        assert done["ui"] == {"text": [paths[-1]]}
    folder = tmp_path / "output" / "dubs"
    assert paths == [str(folder / "anna_00001_.mp4"), str(folder / "anna_00002_.mp4")]
    assert sorted(path.name for path in folder.iterdir()) == ["anna_00001_.mp4", "anna_00002_.mp4"]
    assert Path(paths[0]).read_bytes() == b"a video"
    assert service.names["video"] == "video.mov"
    assert service.fields["num_inference_steps"] == "4"
    nodes.LatentSyncVideo().lipsync(str(tmp_path / "input" / "talk.mov"), "x", audio(0.1), service.url, **OPTIONS)


def run(nodes: ModuleType, service: ServiceStandIn, tmp_path: Path, **changes: Any) -> None:
    (tmp_path / "input" / "talk.mp4").write_bytes(b"a video")
    given = dict(video_path="talk.mp4", filename_prefix="out", audio=audio(0.1), server=service.url, **OPTIONS)
    nodes.LatentSyncVideo().lipsync(**(given | changes))


def test_the_progress_is_shown(nodes: ModuleType, service: ServiceStandIn, tmp_path: Path):
    run(nodes, service, tmp_path)
    assert nodes.comfy.utils.ProgressBar.last.values == [0, 250, 750, 1000]


NUM_PARTS = 8
"""Fields of a request, between which an upload may be interrupted."""


@pytest.mark.parametrize(
    ("num_checks", "cancelled"), [(1, []), (NUM_PARTS, ["job1"]), (NUM_PARTS + 3, ["job1"]), (NUM_PARTS + 4, [])]
)
def test_an_interrupt_cancels_the_job_and_leaves_no_file(
    nodes: ModuleType, service: ServiceStandIn, tmp_path: Path, num_checks: int, cancelled: list[str]
):
    manager = nodes.comfy.model_management
    manager.checks_until_interrupt = num_checks
    with pytest.raises(manager.InterruptProcessingException):
        run(nodes, service, tmp_path, num_inference_steps=1)
    assert service.cancelled == cancelled
    assert list((tmp_path / "output").iterdir()) == []


def test_the_line_of_a_failed_job_is_shown(nodes: ModuleType, service: ServiceStandIn, tmp_path: Path):
    service.failure = "no face was found in video.mp4"
    with pytest.raises(nodes.LatentSyncError, match=r"^LatentSync: no face was found in video\.mp4$"):
        run(nodes, service, tmp_path)
    assert list((tmp_path / "output").iterdir()) == []


def test_a_result_that_arrives_in_part_is_no_result(nodes: ModuleType, service: ServiceStandIn, tmp_path: Path):
    service.num_missing_bytes = 3
    with pytest.raises(nodes.LatentSyncError, match=r"the download of the result .* ended early"):
        run(nodes, service, tmp_path)
    assert list((tmp_path / "output").iterdir()) == []


def test_another_program_at_the_address_is_named(nodes: ModuleType, service: ServiceStandIn, tmp_path: Path):
    service.is_other_program = True
    with pytest.raises(nodes.LatentSyncError, match="is not the address of a LatentSync server"):
        run(nodes, service, tmp_path)


def test_a_key_is_sent_from_the_input_or_the_environment(
    nodes: ModuleType, service: ServiceStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    service.key = "secret"
    with pytest.raises(nodes.LatentSyncError, match=r"\(401\): the API key is missing or wrong$") as caught:
        run(nodes, service, tmp_path, api_key="other")
    assert "other" not in str(caught.value)
    run(nodes, service, tmp_path, api_key="secret")
    monkeypatch.setenv("LATENTSYNC_API_KEY", "secret")
    run(nodes, service, tmp_path)


def test_a_server_that_restarts_is_waited_for_and_one_that_is_gone_is_named(
    nodes: ModuleType, service: ServiceStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    service.num_dropped = 3
    run(nodes, service, tmp_path)
    monkeypatch.setattr(nodes, "MAX_OUTAGE_S", 0.0)
    service.num_dropped = 100
    with pytest.raises(nodes.LatentSyncError, match="no LatentSync server answers at http://127"):
        run(nodes, service, tmp_path)
    with pytest.raises(nodes.LatentSyncError, match=r"start python -m latentsync\.server"):
        run(nodes, service, tmp_path, server="http://127.0.0.1:9")


def test_an_upload_that_the_server_ends_names_the_causes(nodes: ModuleType, service: ServiceStandIn, tmp_path: Path):
    service.ends_uploads = True
    (tmp_path / "input" / "long.mp4").write_bytes(bytes(30 << 20))
    with pytest.raises(nodes.LatentSyncError, match="ended the upload: is the API key right, is the video too large"):
        run(nodes, service, tmp_path, video_path="long.mp4")


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"video_path": "absent.mp4"}, "'absent.mp4' is not a file"), ({"server": "localhost:8000"}, "server is 'localh")],
)
def test_unusable_inputs_are_refused_before_the_upload(
    nodes: ModuleType, service: ServiceStandIn, tmp_path: Path, changes: dict, message: str
):
    with pytest.raises(nodes.LatentSyncError, match=message):
        run(nodes, service, tmp_path, **changes)
    assert service.fields == {}


def test_the_interface_is_complete(nodes: ModuleType):
    assert nodes.NODE_CLASS_MAPPINGS.keys() == nodes.NODE_DISPLAY_NAME_MAPPINGS.keys()
    for node in nodes.NODE_CLASS_MAPPINGS.values():
        inputs = node.INPUT_TYPES()
        code = getattr(node, node.FUNCTION).__code__
        names = code.co_varnames[1 : code.co_argcount]
        assert list(names) == [*inputs["required"], *inputs["optional"]]
        assert len(node.RETURN_TYPES) == len(node.RETURN_NAMES)


COMFYUI = {"av", "comfy", "folder_paths", "numpy", "torch"}
"""What ComfyUI's own requirements and program provide."""


def test_the_file_imports_nothing_beyond_comfyui_and_the_standard_library():
    tree = ast.parse(NODES.read_text(encoding="utf-8"))
    imported = {
        alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names
    }
    imported |= {(node.module or "").partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported - sys.stdlib_module_names == COMFYUI
