"""A dry run of a training reports the same errors as the training itself, and writes nothing."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.synthetic.clip_set import CLIP_FILES
from demo.training.__main__ import main as demo_training
from latentsync.storage.owned_folder import locked
from scripts import train_syncnet, train_unet
from tests.e2e.test_train_syncnet import TINY
from tests.integration.tiny_training import fit
from tests.training_setup import write_unet_setup

Entry = Callable[[list[str]], int]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """User folder with the files that the settings below name; the clips are never opened."""
    folder = tmp_path_factory.mktemp("a user")
    for name in ("clips/a.mp4", "held out/b.mp4", "notes/thesis.txt", "empty/x.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("the user's")
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "list.txt").write_text("gone.mp4\nlost.mp4\n")
    fit(folder / "trained")
    for name in ("damaged", "lost"):
        fit(folder / name)
        (folder / name / "checkpoints/step_00000004/optimizer.bin").write_bytes(b"\0")
    (folder / "lost/checkpoints/step_00000002/config.yaml").unlink()
    (folder / "used").mkdir()
    (folder / "in the way").mkdir()
    fit(folder / "in the way", max_steps=1)
    (folder / "in the way/validation").write_text("a file")
    with locked(folder / "used", "wait"):
        yield folder


BAD: dict[str, str] = {
    "data.train_clips=null": "data.train_clips is not set",
    "data.validation_clips=null": "data.validation_clips is not set",
    "data.train_clips=nowhere": "nowhere does not exist",
    "data.train_clips=empty": "empty contains no clip",
    "data.train_clips=list.txt": "none exists",
    "data.cache_dir=tiny.yaml/cache": "name another data.cache_dir",
    "data.num_frames=5": "5 frames of 3 channels",
    "data.video_fps=0": "use at least 1",
    "initial=nowhere.pt": "nowhere.pt is missing",
    "training.device=banana": "unknown device 'banana'",
    "training.device=cuda:7": "cuda:7",
    "training.mixed_precision=fp16": "a CPU does not train in fp16",
    "training.num_workers=-1": "training.num_workers is at least 0",
    "training.num_workers=100000": "training.num_workers is at most 1024",
    "training.num_threads=1000000000000": "training.num_threads lies in",
    "training.seed=4294967295": "training.seed is at most",
    "training.optimizer.lr=.inf": "training.optimizer.lr is above 0 and finite",
    "training.nonsense=1": "nonsense",
    "training.max_steps=many": "max_steps",
    "training.run_dir=notes": "did not make: choose another training.run_dir",
    "training.run_dir=tiny.yaml": "is a file, not a folder",
    "training.run_dir=''": "did not make: choose another training.run_dir",
    "training.run_dir=used": "is in use by process",
    "training.run_dir='in the way'": "validation is in the way of a folder",
    "training.run_dir=lost": "none of the 2 checkpoints",
    "training.resume=nowhere": "nowhere is no checkpoint folder",
    "training.resume=damaged/checkpoints/step_00000004": "give training.resume=damaged/checkpoints/step_00000002",
    "training.resume=trained/checkpoints/step_00000007": "there is no such folder",
}


def ends(entry: Entry, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Return the exit code of a command and its lines of errors."""
    capsys.readouterr()
    code = entry(arguments)
    lines = capsys.readouterr().err.splitlines()
    return code, [line for line in lines if line.startswith("error: ")]


def contents(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def agree(entry: Entry, arguments: list[str], part: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that both runs fail with the same line and change nothing in the folder."""
    before = contents(folder)
    dry = ends(entry, [*arguments, "--dry_run"], capsys)
    assert contents(folder) == before
    assert ends(entry, arguments, capsys) == dry
    assert contents(folder) == before
    assert dry[0] == 2
    assert len(dry[1]) == 1
    assert part in dry[1][0]


@pytest.mark.parametrize("setting", BAD)
def test_a_syncnet(setting: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(folder)
    good = ["data.train_clips=clips", "data.validation_clips='held out'", "training.run_dir=new"]
    agree(train_syncnet.main, ["--config", "tiny.yaml", *good, setting], BAD[setting], folder, capsys)


def test_settings_that_fit_another_run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(folder)
    run = ["--config", "tiny.yaml", "data.train_clips=clips", "data.validation_clips='held out'"]
    for more, part in (
        (["training.run_dir=trained", "training.resume=none"], "already holds checkpoints up to step 4"),
        (["training.run_dir=trained", "training.resume=trained/checkpoints/step_00000002"], "beyond"),
        (
            ["training.run_dir=damaged", "training.resume=damaged/checkpoints/step_00000004"],
            "leave training.resume out",
        ),
    ):
        agree(train_syncnet.main, [*run, *more], part, folder, capsys)


def test_overrides_may_stand_on_both_sides_of_an_option(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(folder)
    clips = ["data.train_clips=clips", "data.validation_clips='held out'"]
    assert (
        train_syncnet.main([*clips, "--config", "tiny.yaml", "training.run_dir=new", "--dry_run", "training.seed=5"])
        == 0
    )
    out = capsys.readouterr().out
    assert "run_dir: new" in out
    assert "seed: 5" in out


def test_all_faults_are_told_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(folder)
    arguments = ["--config", "tiny.yaml", "data.train_clips=nowhere", "initial=gone.pt", "training.run_dir=notes"]
    dry, real = (ends(train_syncnet.main, [*arguments, *more], capsys) for more in (["--dry_run"], []))
    assert dry == real
    assert (dry[0], len(dry[1])) == (2, 4)


def test_a_dry_run_that_can_begin_writes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(folder)
    before = contents(folder)
    run = ["--config", "tiny.yaml", "data.train_clips=clips", "data.validation_clips='held out'"]
    for run_dir in ("new", "trained", "empty/below"):
        assert train_syncnet.main([*run, f"training.run_dir={run_dir}", "--dry_run"]) == 0
    assert train_syncnet.main([*run, "training.run_dir=damaged", "--dry_run"]) == 0
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ("data.train_clips=nowhere", "nowhere does not exist"),
        ("data.validation_clips=nowhere", "nowhere does not exist"),
        ("vae=nowhere", "nowhere is neither a folder with a VAE"),
        ("audio.whisper=nowhere.pt", "nowhere.pt is missing"),
        ("trainable=[nothing.]", "no parameter name contains"),
        ("model.cross_attention_dim=32", "gives audio of width 16"),
        ("validation.syncnet_checkpoint=nowhere.pt", "nowhere.pt is missing"),
        ("training.run_dir=notes", "did not make"),
    ],
)
def test_a_unet(
    unet: Path, setting: str, part: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def entry(arguments: list[str]) -> int:
        monkeypatch.setattr(sys, "argv", ["train_unet.sh", *arguments])
        return train_unet.main()

    monkeypatch.chdir(unet.parent)
    agree(entry, ["--config", unet.name, setting], part, unet.parent, capsys)


@pytest.fixture(scope="module")
def unet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a unet")
    (folder / "notes").mkdir()
    (folder / "notes/thesis.txt").write_text("the user's")
    return write_unet_setup(folder)


@pytest.mark.parametrize(
    ("network", "setting", "part"),
    [
        ("mouth_reader", "data.train_clips=nowhere", "nowhere does not exist"),
        ("videomae", "data.validation_clips=empty", "empty contains no complete clips"),
        ("vae", "initial=nowhere", "nowhere is neither a folder with a VAE"),
        ("audio_encoder", "initial=nowhere.pt", "nowhere.pt is missing"),
        ("mouth_reader", "training.run_dir=notes", "did not make"),
    ],
)
def test_a_demo_network(
    network: str, setting: str, part: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys
):  # fmt: skip
    monkeypatch.chdir(folder)
    clip = folder / "demo clips" / "clip_0"
    clip.mkdir(parents=True, exist_ok=True)
    for name in CLIP_FILES:
        (clip / name).write_bytes(b"")
    good = ["data.train_clips='demo clips'", "data.validation_clips='demo clips'", "training.run_dir=new"]
    agree(demo_training, [network, *good, "training.device=cpu", setting], part, folder, capsys)
