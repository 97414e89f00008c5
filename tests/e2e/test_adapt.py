"""adapt.sh as a user runs it: a short adaptation, its result in inference, and inputs that cannot be used."""

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from latentsync.adaptation.adapt import Adaptation
from latentsync.config import load_config
from latentsync.media.ffmpeg_tools import run_tool
from latentsync.models.checkpoint import load_unet
from latentsync.recipes.adapted_weights import read_adapted
from latentsync.recipes.lipsync import SECTIONS
from latentsync.recipes.unet_run import UNetRun
from latentsync.training.checkpointing import CheckpointFolder, step_of
from latentsync.training.metrics import read_rows
from latentsync.weights import REPOSITORY_ROOT
from scripts import adapt, inference
from tests.process_state import process_as_before
from tests.repository_copy import environment_of

pytestmark = pytest.mark.slow

SHORT = (
    *("--detector", "mtcnn", "--device", "cpu", "training.batch_size=1", "training.log_every=1"),
    "adaptation.guidance_scales=[]",
)
STEPS = 8
PUBLISHED = (
    "latentsync_unet.pt",
    "whisper/tiny.pt",
    "auxiliary/s3fd-619a316812.pth",
    "auxiliary/2DFAN4-cd938726ad.zip",
)
LINE = ("--video", "my talk.mp4", "--out", "runs/an na", "--audio", "pseudo", "--steps", str(STEPS))
STOPPED = (*LINE[:3], "runs/stopped", *LINE[4:])


def short(folder: Path) -> tuple[str, ...]:
    """Settings of a short adaptation, whose checks have one second of foreign speech."""
    return (*SHORT, f'adaptation.check_speech=["{folder / "voice.wav"}"]')


@dataclass
class Done:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Done]:
    """Return a function that runs a command in this process, in the folder."""

    def run(main: Callable[[list[str]], int], *arguments: str) -> Done:
        monkeypatch.chdir(folder)
        with process_as_before():
            status = main(list(arguments))
        printed = capsys.readouterr()
        return Done(status, printed.out, printed.err)

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    folder = tmp_path_factory.mktemp("adapt") / "it's here"
    folder.mkdir()
    demo = repository / "assets" / "demo1_video.mp4"
    run_tool(["ffmpeg", "-v", "error", "-i", str(demo), "-t", "3.2", "-crf", "12", str(folder / "my talk.mp4")])
    voice = str(repository / "assets" / "demo1_audio.wav")
    run_tool(["ffmpeg", "-v", "error", "-i", voice, "-t", "1", str(folder / "voice.wav")])
    return folder


@pytest.fixture(scope="module")
def adapted(folder: Path, repository: Path) -> subprocess.CompletedProcess[str]:
    command = [str(repository / "adapt.sh"), *LINE, *short(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_the_result_is_complete_and_says_what_it_is(folder: Path, adapted: subprocess.CompletedProcess[str]):
    out = folder / "runs" / "an na"
    record = read_adapted(out).record
    files = {"adapt.json", "config.yaml", "latentsync_unet.pt", "report.md", "report.png", "vae_decoder.safetensors"}
    assert files <= {path.name for path in out.iterdir()}
    assert set(record["files"]) == {"latentsync_unet.pt", "vae_decoder.safetensors", "config.yaml"}
    report = record["report"]
    assert (report["audio"], report["trained"]["num_steps"], report["seconds"]) == ("pseudo", STEPS, 3.2)
    assert report["agreement"]["correlation"] > 0.9, "the sound of the demo fits its lips"
    assert report["after"]["psnr_db"] != report["before"]["psnr_db"]
    assert "./inference.sh --adapted 'runs/an na'" in adapted.stdout
    assert re.search(r"the VAE on held-out frames: \d\d\.\d dB -> \d\d\.\d dB, sharpness [01]\.\d\d", adapted.stdout)
    assert "(lips and sound: correlation 0.9" in (out / "report.md").read_text()


def test_the_same_line_again_repeats_the_report_and_another_is_refused(
    folder: Path, adapted: subprocess.CompletedProcess[str], run: Callable[..., Done]
):
    record = folder / "runs" / "an na" / "adapt.json"
    before = record.stat().st_mtime_ns
    again = run(adapt.main, *LINE, *short(folder))
    assert again.status == 0
    assert again.out.splitlines()[-4:] == adapted.stdout.splitlines()[-4:]
    other = run(adapt.main, *LINE, *short(folder), "--audio", "own")
    assert other.status == 2
    assert "has an adaptation with other settings" in other.err
    assert record.stat().st_mtime_ns == before


@pytest.mark.usefixtures("adapted")
def test_a_damaged_result_is_made_again(folder: Path, run: Callable[..., Done], monkeypatch: pytest.MonkeyPatch):
    made_again = []

    def adapt_again(self: Adaptation, finish: bool) -> tuple[None, int]:
        made_again.append(self)
        return None, 0

    monkeypatch.setattr(Adaptation, "_adapt", adapt_again)
    weights = folder / "runs" / "an na" / "latentsync_unet.pt"
    content = weights.read_bytes()
    weights.write_bytes(content[:1000])
    assert run(adapt.main, *LINE, *short(folder)).status == 0
    weights.write_bytes(content)
    assert made_again


@pytest.fixture(scope="module")
def stopped(folder: Path, repository: Path) -> int:
    """Start adapt.sh and press Ctrl-C during its training; return the number of steps that were saved."""
    command = [str(repository / "adapt.sh"), *STOPPED, *short(folder)]
    training = folder / "runs" / "stopped" / "training"
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not read_rows(training / "metrics.jsonl"):
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        error = process.communicate()[1]
    assert process.returncode == 128 + signal.SIGINT, error
    assert "Traceback" not in error
    latest = CheckpointFolder(training).latest()
    assert latest is not None
    assert step_of(latest) < STEPS, "the test is too slow to interrupt the training"
    return step_of(latest)


@pytest.mark.long
def test_after_ctrl_c_finish_uses_what_is_trained(folder: Path, stopped: int, run: Callable[..., Done]):
    refused = run(inference.main, "--adapted", "runs/stopped", "--dry_run")
    assert "runs/stopped is not finished: give a folder that adapt.sh has completed" in refused.err
    shutil.copytree(folder / "runs" / "stopped", folder / "runs" / "short")
    done = run(adapt.main, *STOPPED[:3], "runs/short", *STOPPED[4:], *short(folder), "--finish")
    assert done.status == 0, done.err
    assert f"{stopped} of {STEPS} planned steps in " in done.out
    trained = torch.load(folder / "runs" / "stopped" / "training" / "latentsync_unet.pt", weights_only=True)
    assert_same_weights(trained, torch.load(read_adapted(folder / "runs" / "short").checkpoint, weights_only=True))


@pytest.mark.long
def test_after_ctrl_c_the_same_line_resumes_bit_for_bit(
    folder: Path, adapted: subprocess.CompletedProcess[str], stopped: int, run: Callable[..., Done]
):
    done = run(adapt.main, *STOPPED, *short(folder))
    assert done.status == 0, done.err
    whole, resumed = (read_adapted(folder / "runs" / name) for name in ("an na", "stopped"))
    assert_same_weights(*(torch.load(one.checkpoint, weights_only=True) for one in (whole, resumed)))
    assert resumed.record["report"]["after"] == whole.record["report"]["after"]


def assert_same_weights(one: dict, other: dict) -> None:
    assert one["global_step"] == other["global_step"]
    assert one["state_dict"].keys() == other["state_dict"].keys()
    for name, value in one["state_dict"].items():
        assert torch.equal(value, other["state_dict"][name]), name


@pytest.mark.usefixtures("adapted")
def test_inference_uses_it_and_a_foreign_one_is_refused(folder: Path, run: Callable[..., Done]):
    dry_run = ("--video_path", "my talk.mp4", "--dry_run")
    done = run(inference.main, "--adapted", "runs/an na", *dry_run)
    assert done.status == 0, done.err
    assert "weights: adapted (runs/an na)" in done.out
    shutil.copytree(folder / "runs" / "an na", folder / "foreign")
    record = json.loads((folder / "foreign" / "adapt.json").read_text())
    record["belongs_to"][record["base"]] = "0" * 40
    (folder / "foreign" / "adapt.json").write_text(json.dumps(record))
    refused = run(inference.main, "--adapted", "foreign", *dry_run)
    assert refused.status == 2
    assert "foreign was adapted from other weights" in refused.err
    assert len(refused.err.strip().splitlines()) == 1


@pytest.mark.usefixtures("adapted")
def test_a_list_names_adapted_weights_for_each_line(folder: Path, run: Callable[..., Done], repository: Path):
    demo = repository / "assets"
    run_tool(["ffmpeg", "-v", "error", "-i", str(demo / "demo1_audio.wav"), "-t", "0.3", str(folder / "speech.wav")])
    (folder / "jobs").mkdir()
    rows = [("a", "../runs/an na"), ("b", ""), ("c", "../runs/an na")]
    lines = [f"../my talk.mp4,../speech.wav,{name}.mp4,{adapted}" for name, adapted in rows]
    text = "\n".join(("video_path,audio_path,video_out_path,adapted", *lines)) + "\n"
    (folder / "jobs" / "jobs.csv").write_text(text)
    quick = ("--inference_steps", "1", "--detector", "mtcnn", "--device", "cpu")
    done = run(inference.main, "--list", "jobs/jobs.csv", *quick)
    assert done.status == 0, done.err
    said = done.out.splitlines()
    loaded = [line.partition(" (")[0] for line in said if line.startswith("weights: ")]
    assert loaded == ["weights: adapted", "weights: demo"], "each once"
    a, b, c = ((folder / "jobs" / f"{name}.mp4").read_bytes() for name in "abc")
    assert a == c
    assert a != b
    assert [line.split()[0] for line in said[-4:-1]] == ["jobs/a.mp4", "jobs/b.mp4", "jobs/c.mp4"]
    (folder / "jobs" / "jobs.csv").write_text(text.replace("../runs/an na", "../runs"))
    refused = run(inference.main, "--list", "jobs/jobs.csv", *quick)
    assert refused.status == 2
    assert "jobs/../runs has no adapt.json" in refused.err


@pytest.mark.long
def test_low_rank_changes_are_merged_with_their_base(folder: Path, run: Callable[..., Done]):
    line = (
        *LINE[:3],
        "runs/lora",
        "--audio",
        "pseudo",
        "--steps",
        "2",
        *short(folder),
        "training.optimizer.name=adamw",
    )
    done = run(adapt.main, *line, "adaptation.lora.rank=2", "adaptation.check_speech=[assets/demo1_audio.wav]")
    assert done.status == 0, done.err
    adapted = read_adapted(folder / "runs" / "lora")
    assert adapted.checkpoint.name == "latentsync_lora.safetensors"
    assert adapted.checkpoint.stat().st_size < 1e6
    assert not (folder / "runs" / "lora" / "latentsync_unet.pt").exists()
    done = run(inference.main, "--adapted", "runs/lora", "--video_path", "my talk.mp4", "--dry_run")
    assert done.status == 0, done.err
    base, config = REPOSITORY_ROOT / adapted.record["base"], load_config(adapted.config, UNetRun, sections=SECTIONS)
    merged, plain = (load_unet(config.model, path).state_dict() for path in (adapted.checkpoint, base))
    changed = {name for name, weight in plain.items() if not torch.equal(weight, merged[name])}
    assert "mid_block.resnets.0.conv1.weight" in changed
    assert all(name.endswith(".weight") for name in changed)


@pytest.mark.long
def test_a_dry_run_of_the_published_weights_counts_memory_and_names_all_that_is_missing(
    folder: Path, fresh_copy: Path, tmp_path: Path
):
    line = ("--video", "my talk.mp4", "--out", str(tmp_path / "new"), "--dry_run", "--device", "cpu")
    command = [str(fresh_copy / "adapt.sh"), "--config", str(fresh_copy / "configs" / "unet" / "adapt.yaml"), *line]
    environment = environment_of(fresh_copy, tmp_path / "home")
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "memory at 256 px, batch size 1, counted: 4." in done.stdout
    assert "fits into 12 GiB" in done.stdout
    (error,) = done.stderr.strip().splitlines()
    assert all(name in error for name in PUBLISHED)
    assert "run python -m scripts.download_weights --version 1.5" in error
    assert not (tmp_path / "new").exists()


BAD_INPUTS = {
    ("--video", "absent.mp4", "--out", "x"): "absent.mp4 does not exist",
    ("--video", "text.mp4", "--out", "x"): "text.mp4 is not a video file",
    ("--video", "short.mp4", "--out", "x", "--audio", "own"): "short.mp4 has no sound",
    ("--video", "short.mp4", "--out", "x", "--audio", "both"): "short.mp4 has no sound",
    ("--video", "my talk.mp4", "--out", "full"): "full holds files that this program did not make",
    ("--video", "my talk.mp4", "--out", "x", "--speech", "text.mp4"): "text.mp4 is not a",
    ("--video", "my talk.mp4", "--out", "x", "--config", "absent.yaml"): "absent.yaml",
    ("--video", "my talk.mp4", "--out", "x", "--minutes", "0"): "--minutes 0: use more than 0",
    ("--video", "my talk.mp4", "--out", "x", "--finish"): "x has no trained steps yet: repeat the line without",
    ("--video", "short.mp4", "--out", "y"): "short.mp4 shows the face for 2.0 s",
    ("--video", "my talk.mp4", "--out", "z", "--face", "7"): "face '7'",
}


def test_inputs_that_cannot_be_used_are_one_line(folder: Path, run: Callable[..., Done]):
    (folder / "text.mp4").write_text("no video")
    run_tool(["ffmpeg", "-v", "error", "-i", str(folder / "my talk.mp4"), "-t", "2", "-an", str(folder / "short.mp4")])
    (folder / "full").mkdir()
    (folder / "full" / "mine.txt").write_text("mine")
    for arguments, message in BAD_INPUTS.items():
        done = run(adapt.main, *short(folder), *arguments)
        assert done.status == 2, arguments
        assert message in done.err.strip().splitlines()[-1], done.err
        assert not (folder / "x").exists()
    assert [path.name for path in (folder / "full").iterdir()] == ["mine.txt"]
