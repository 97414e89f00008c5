"""The registry of weight files, where they are searched, and which set is selected."""

import json
from pathlib import Path

import pytest
import torch

from latentsync.errors import CheckpointError, InputError
from latentsync.weights import (
    DEMO_UNET,
    FACE_ALIGNMENT,
    REPOSITORY_ROOT,
    TINY_VAE_CONFIG,
    TINY_VAE_REPOSITORY,
    TINY_VAE_WEIGHTS,
    UNET,
    VAE_CONFIG,
    VAE_REPOSITORY,
    VAE_WEIGHTS,
    VERSION_RECORD,
    VERSIONS,
    WHISPER_TINY,
    files_for,
    find_tiny_vae,
    find_vae,
    find_weight_set,
    locate,
    locate_initial,
    published_files,
    record_version,
    recorded_version,
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("latentsync.weights.try_to_load_from_cache", lambda repository, name: None)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / "checkpoints" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights")


def test_every_published_file_is_listed_once_with_the_right_repository():
    files = {file.path: file for file in published_files("1.5")}
    assert len(files) == len(published_files("1.5")) == 15
    assert files[UNET].repository == "ByteDance/LatentSync-1.5"
    assert {file.path for file in published_files("1.6")} == set(files)
    assert files[VAE_WEIGHTS].repository == VAE_REPOSITORY
    assert {file.repository for file in published_files("1.6") if file.path.startswith("auxiliary/")} == {
        "ByteDance/LatentSync-1.5"
    }
    required = [UNET, WHISPER_TINY, VAE_CONFIG, VAE_WEIGHTS]
    assert [file.path for file in files_for(["inference"])] == [*required, *FACE_ALIGNMENT]
    assert [file.path for file in files_for(["inference"]) if file.fallback is None] == required


def test_every_listed_file_is_read_somewhere():
    folders = ("latentsync", "demo", "eval", "preprocess", "configs")
    sources = [path for folder in folders for path in (REPOSITORY_ROOT / folder).rglob("*") if path.suffix != ".pyc"]
    listings = {REPOSITORY_ROOT / "latentsync" / name for name in ("weights.py", "doctor.py")}
    text = "".join(path.read_text() for path in sources if path.is_file() and path not in listings)
    for file in published_files():
        if file.need == "optional" or file.repository == VAE_REPOSITORY:
            continue  # named by the user's own configurations; read by find_vae
        assert file.path in text or f'"{Path(file.path).name}"' in text, file.path


def test_the_place_of_a_file_ends_with_its_name_on_the_hub():
    assert all(file.path.endswith(file.hub_name) for file in published_files() if file.hub_name)


def test_an_empty_file_is_not_here(root: Path):
    syncnet = next(file for file in published_files() if file.path == "stable_syncnet.pt")
    (root / "checkpoints" / "stable_syncnet.pt").touch()
    assert not syncnet.is_here(root / "checkpoints")
    put(root, "latentsync_syncnet.pt")
    assert syncnet.find(root / "checkpoints") == root / "checkpoints" / "latentsync_syncnet.pt"
    (root / "checkpoints" / "stable_syncnet.pt").unlink()
    assert locate("checkpoints/stable_syncnet.pt", root) == root / "checkpoints" / "latentsync_syncnet.pt"


def test_a_missing_file_says_how_to_get_it(root: Path):
    with pytest.raises(CheckpointError, match=r"whisper/tiny\.pt is missing: run .*download_weights \(it comes from"):
        locate("checkpoints/whisper/tiny.pt", root)
    with pytest.raises(CheckpointError, match="download_weights --training"):
        locate("checkpoints/stable_syncnet.pt", root)
    with pytest.raises(CheckpointError, match="name an existing file by its absolute path"):
        locate("elsewhere/mine.pt", root)


def test_an_unknown_version_is_refused():
    with pytest.raises(InputError, match=r"'2\.0'.*1\.6, 1\.5"):
        published_files("2.0")


@pytest.mark.parametrize(("version", "name"), [("1.6", "published-512"), ("1.5", "published-256")])
def test_the_published_set_is_taken_when_it_is_whole(root: Path, version: str, name: str):
    put(root, UNET, WHISPER_TINY, VAE_CONFIG, VAE_WEIGHTS, DEMO_UNET)
    record_version(version, root / "checkpoints")
    chosen = find_weight_set(root)
    assert chosen.name == name
    assert chosen.unet_config == root / VERSIONS[version].unet_config
    assert chosen.unet_checkpoint == root / "checkpoints" / UNET


def test_a_unet_of_an_unknown_release_is_refused_in_one_line(root: Path):
    put(root, UNET, WHISPER_TINY, VAE_CONFIG, VAE_WEIGHTS, DEMO_UNET)
    with pytest.raises(CheckpointError, match=r"--version 1\.5 \(256 px\) or --version 1\.6 \(512 px\)") as caught:
        find_weight_set(root)
    assert str(caught.value).startswith(f"{root / 'checkpoints' / UNET} is of an unknown release, the releases have")
    assert "--unet_config_path and --inference_ckpt_path" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_note_written_by_hand_serves(root: Path):
    put(root, UNET, WHISPER_TINY, VAE_CONFIG, VAE_WEIGHTS)
    (root / "checkpoints" / VERSION_RECORD).write_text('{"version": "1.5"}')
    assert find_weight_set(root).name == "published-256"


def test_a_note_holds_for_its_file_alone_also_where_sizes_are_equal(root: Path):
    put(root, WHISPER_TINY, VAE_CONFIG, VAE_WEIGHTS)
    unet = root / "checkpoints" / UNET
    tensors = {"first": torch.zeros(10), "large": torch.zeros(1 << 20)}
    torch.save(tensors, unet)
    size = unet.stat().st_size
    record_version("1.5", root / "checkpoints")
    assert find_weight_set(root).name == "published-256"
    tensors["first"] += 1.0  # 4 MB before the end of the file
    torch.save(tensors, unet)
    assert unet.stat().st_size == size
    assert recorded_version(root / "checkpoints") is None
    with pytest.raises(CheckpointError, match=r"latentsync_unet\.json beside it was written for another file"):
        find_weight_set(root)


def test_a_pointer_of_git_lfs_is_not_here(root: Path):
    whisper = next(file for file in published_files() if file.path == WHISPER_TINY)
    put(root, WHISPER_TINY)
    assert whisper.is_here(root / "checkpoints")
    (root / "checkpoints" / WHISPER_TINY).write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert not whisper.is_here(root / "checkpoints")


def test_the_demo_set_is_taken_when_the_published_one_has_a_gap(root: Path, caplog: pytest.LogCaptureFixture):
    put(root, UNET, VAE_CONFIG, VAE_WEIGHTS, DEMO_UNET)
    assert find_weight_set(root).name == "demo"
    assert "lack whisper/tiny.pt" in caplog.text


def test_no_weights_at_all_is_an_error(root: Path):
    with pytest.raises(CheckpointError, match="no weights in"):
        find_weight_set(root)


def test_the_vae_of_the_hubs_cache_serves_too(root: Path, monkeypatch: pytest.MonkeyPatch):
    snapshot = root / "cache" / "snapshot"
    snapshot.mkdir(parents=True)
    for name in ("config.json", "diffusion_pytorch_model.safetensors"):
        (snapshot / name).write_bytes(b"x")
    with pytest.raises(CheckpointError, match="download_weights"):
        find_vae(VAE_REPOSITORY, root)
    monkeypatch.setattr("latentsync.weights.try_to_load_from_cache", lambda repository, name: str(snapshot / name))
    assert find_vae(VAE_REPOSITORY, root) == snapshot
    put(root, UNET, WHISPER_TINY)
    record_version("1.6", root / "checkpoints")
    assert find_weight_set(root).name == "published-512"
    put(root, VAE_CONFIG, VAE_WEIGHTS)
    assert find_vae(VAE_REPOSITORY, root) == root / "checkpoints" / "vae"


def test_a_vae_folder_is_taken_as_it_is(root: Path):
    put(root, "demo/vae/config.json")
    assert find_vae("checkpoints/demo/vae", root) == root / "checkpoints" / "demo" / "vae"
    assert find_vae(str(root / "checkpoints" / "demo" / "vae"), Path("elsewhere")).name == "vae"
    with pytest.raises(CheckpointError, match="neither a folder"):
        find_vae("checkpoints/none", root)


def test_the_tiny_vae_is_beside_the_full_one(root: Path, monkeypatch: pytest.MonkeyPatch):
    for name in (VAE_REPOSITORY, "checkpoints/demo/vae"):
        with pytest.raises(CheckpointError, match=r"no tiny one on this machine: .*, or choose --vae full$"):
            find_tiny_vae(name, root)
    put(root, "demo/vae_tiny/config.json", "demo/vae_tiny/diffusion_pytorch_model.safetensors")
    assert find_tiny_vae("checkpoints/demo/vae/", root) == root / "checkpoints" / "demo" / "vae_tiny"
    cached = {(TINY_VAE_REPOSITORY, name): str(root / "cache" / name) for name in ("config.json", "x.safetensors")}
    monkeypatch.setattr("latentsync.weights.try_to_load_from_cache", lambda *names: cached.get(names))
    with pytest.raises(CheckpointError, match=rf"copy the files of {TINY_VAE_REPOSITORY}"):
        find_tiny_vae(VAE_REPOSITORY, root)
    put(root, TINY_VAE_CONFIG, TINY_VAE_WEIGHTS)
    assert find_tiny_vae(VAE_REPOSITORY, root) == root / "checkpoints" / "vae_tiny"


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"version": "9"}), "\x00"])
def test_a_damaged_note_of_the_version_is_one_clear_line(root: Path, text: str):
    (root / "checkpoints" / VERSION_RECORD).write_text(text)
    with pytest.raises(CheckpointError) as caught:
        recorded_version(root / "checkpoints")
    assert VERSION_RECORD in str(caught.value)
    assert "\n" not in str(caught.value)


def test_initial_weights_are_looked_for_in_the_working_folder_and_then_in_the_repository(tmp_path, monkeypatch):
    repository, working = tmp_path / "repository", tmp_path / "working"
    for folder in (repository, working):
        folder.mkdir()
        (folder / "both.pt").write_bytes(b"weights")
    (repository / "ours.pt").write_bytes(b"weights")
    monkeypatch.chdir(working)
    assert locate_initial("both.pt", repository).resolve() == working / "both.pt"
    assert locate_initial("ours.pt", repository) == repository / "ours.pt"
    with pytest.raises(CheckpointError, match=r"nowhere\.pt is missing"):
        locate_initial("nowhere.pt", repository)
