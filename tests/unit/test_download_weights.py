"""scripts/download_weights.py with a hub on this machine: downloads, messages and exit statuses."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from latentsync.weights import FACE_ALIGNMENT, UNET, files_for, published_files, recorded_version
from scripts.download_weights import main
from tests.fake_hub import FakeHub, serving, use_in_this_process

Command = Callable[..., tuple[int, str, str]]


def all_repositories() -> dict[str, dict[str, bytes]]:
    """A hub with all files of both releases, repository and name as content; the SyncNet has its older name."""
    held: dict[str, dict[str, bytes]] = {}
    for file in (*published_files("1.5"), *published_files("1.6")):
        name = file.older_path or file.hub_name or file.path
        held.setdefault(file.repository, {})[name] = f"{file.repository}/{name}".encode()
    return held


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with serving(FakeHub(all_repositories())) as held:
        use_in_this_process(held, monkeypatch)
        yield held


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "check points"


@pytest.fixture
def command(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["download_weights", "--checkpoints_dir", str(folder), *arguments])
        status = main()
        return status, *capsys.readouterr()

    return run


def put(folder: Path, name: str, content: bytes = b"by hand") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def test_what_inference_needs_is_downloaded_once(hub: FakeHub, folder: Path, command: Command, monkeypatch):
    assert command("--version", "1.5")[0] == 0
    assert (folder / UNET).read_text() == "ByteDance/LatentSync-1.5/latentsync_unet.pt"
    assert (folder / "vae" / "config.json").read_text() == "stabilityai/sd-vae-ft-mse/config.json"
    assert all(file.is_here(folder) for file in files_for(["inference"]))
    assert set(FACE_ALIGNMENT) <= {file.path for file in files_for(["inference"])}
    assert not (folder / "stable_syncnet.pt").exists()
    assert json.loads((folder / "latentsync_unet.json").read_text())["version"] == "1.5"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert command() == (0, "The published weights are here (version 1.5).\n", "")
    status, _, error = command("--version", "1.6")
    assert (status, "is of version 1.5: move it away to download 1.6" in error) == (2, True)


def test_training_takes_the_rest_under_older_names_too_and_nothing_that_is_never_read(
    hub: FakeHub, folder: Path, command: Command
):
    assert command("--training")[0] == 0
    assert (folder / "stable_syncnet.pt").read_text() == "ByteDance/LatentSync-1.6/latentsync_syncnet.pt"
    assert all(file.is_here(folder) for file in published_files() if file.need != "optional")
    assert not (folder / "auxiliary" / "sfd_face.pth").exists()


def test_a_file_of_the_users_own_is_kept_and_a_refusal_is_no_failure(hub: FakeHub, folder: Path, command: Command):
    put(folder, "whisper/tiny.pt")
    hub.refused.add(UNET)
    status, said, _ = command()
    assert status == 0
    assert "downloading latentsync_unet.pt from ByteDance/LatentSync-1.6 failed" in said
    assert said.splitlines()[-1].startswith("Until then the demo weights in checkpoints/demo are used")
    assert not (folder / UNET).exists()
    assert not (folder / "latentsync_unet.json").exists()
    assert (folder / "whisper" / "tiny.pt").read_bytes() == b"by hand"


def test_a_missing_repository_is_one_line_and_the_rest_is_downloaded(hub: FakeHub, folder: Path, command: Command):
    hub.repositories = {name: files for name, files in hub.repositories.items() if name != "stabilityai/sd-vae-ft-mse"}
    status, said, _ = command()
    assert status == 0
    named = [line for line in said.splitlines() if "has no repository stabilityai/sd-vae-ft-mse" in line]
    assert len(named) == 1
    assert "HF_ENDPOINT" in named[0]
    lacking = "Still missing: vae/config.json, vae/diffusion_pytorch_model.safetensors; to try again: python -m"
    assert any(line.startswith(lacking) for line in said.splitlines())
    assert (folder / UNET).exists()


def test_missing_landmark_weights_name_their_own_consequence(hub: FakeHub, folder: Path, command: Command):
    files = dict(hub.repositories["ByteDance/LatentSync-1.5"])
    del files[FACE_ALIGNMENT[0]]
    hub.repositories = {**hub.repositories, "ByteDance/LatentSync-1.5": files}
    status, said, _ = command()
    assert status == 0
    assert f"has no file {FACE_ALIGNMENT[0]}: name a mirror by HF_ENDPOINT, or put {folder}" in said
    assert said.splitlines()[-1].startswith("Until then faces are aligned by MTCNN's points")


def test_a_damaged_file_is_an_error_and_never_counts_as_present(hub: FakeHub, folder: Path, command: Command):
    hub.served["whisper/tiny.pt"] = b"B" + b"yteDance/LatentSync-1.6/whisper/tiny.xx"
    status, said, error = command()
    assert status == 2
    assert error.startswith("error: whisper/tiny.pt from ByteDance/LatentSync-1.6 arrived damaged (SHA-256")
    assert len(error.splitlines()) == 1
    assert [path.name for path in (folder / "whisper").iterdir()] == []
    assert (folder / UNET).exists()
    assert "Still missing: whisper/tiny.pt;" in said
    hub.served.clear()
    assert command()[0] == 0
    assert (folder / "whisper" / "tiny.pt").is_file()


def test_a_git_lfs_pointer_is_not_a_weights_file(hub: FakeHub, folder: Path, command: Command):
    put(folder, "whisper/tiny.pt", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    assert command()[0] == 0
    assert (folder / "whisper" / "tiny.pt").read_text() == "ByteDance/LatentSync-1.6/whisper/tiny.pt"


def test_out_of_reach_it_says_so_in_three_lines_and_succeeds(folder: Path, command: Command, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    status, said, error = command()
    assert (status, error, len(said.splitlines())) == (0, "", 3)
    assert said.startswith("The model hub does not answer\nStill missing: latentsync_unet.pt, ")
    assert "checkpoints/demo" in said
    assert not folder.exists()


def test_a_unet_placed_by_hand_must_say_its_release_once(folder: Path, command: Command, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    put(folder, UNET)
    status, said, _ = command()
    assert status == 0
    line = said.splitlines()[0]
    assert line.startswith(f"{folder / UNET} is of an unknown release")
    assert f"--checkpoints_dir {folder} --version 1.5 (256 px) or --version 1.6 (512 px)" in line
    assert recorded_version(folder) is None
    status, said, _ = command("--version", "1.5")
    assert (status, said.splitlines()[0]) == (0, f"Recorded that {folder / UNET} is of version 1.5.")
    assert recorded_version(folder) == "1.5"
    put(folder, UNET, b"another file, put in its place")
    assert "latentsync_unet.json beside it was written for another file" in command()[1]
    assert command("--version", "1.6")[0] == 0
    assert recorded_version(folder) == "1.6"


def test_verify_compares_what_is_here_with_the_hub(hub: FakeHub, folder: Path, command: Command):
    assert command()[0] == 0
    status, said, _ = command("--verify")
    assert status == 0
    assert len(said.splitlines()) == len(files_for(["inference"]))
    assert all(line.endswith(": as published") for line in said.splitlines())
    put(folder, "whisper/tiny.pt")
    status, said, _ = command("--verify")
    assert status == 2
    wrong = "whisper/tiny.pt: 7 bytes instead of 40: move it away and run python -m scripts.download_weights"
    assert wrong in said.splitlines()
    assert (folder / "whisper" / "tiny.pt").read_bytes() == b"by hand"


def test_verify_with_a_release_records_nothing(hub: FakeHub, folder: Path, command: Command):
    put(folder, UNET)
    for version in ("1.6", "1.5"):
        status, said, _ = command("--verify", "--version", version)
        assert (status, recorded_version(folder)) == (2, None)
        assert f"{UNET}: 7 bytes instead of" in said


def test_ctrl_c_leaves_one_line(hub: FakeHub, command: Command, monkeypatch):
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("scripts.download_weights.download", stop)
    status, _, error = command()
    assert (status, error) == (130, "stopped; the same command resumes\n")
