import shutil
import sys

import pytest

from latentsync import doctor
from latentsync.weights import (
    COPIED_BY_HAND,
    DEMO_UNET,
    FACE_EMBEDDING,
    UNET,
    VAE_CONFIG,
    VAE_WEIGHTS,
    WHISPER_TINY,
    published_files,
)


def lines(capsys, *arguments):
    code = doctor.main(list(arguments))
    return code, capsys.readouterr().out.splitlines()


@pytest.fixture
def checkpoints(monkeypatch, tmp_path):
    """A checkpoints folder whose only file is a demo U-Net that no test loads."""
    folder = tmp_path / "checkpoints"
    (folder / DEMO_UNET).parent.mkdir(parents=True)
    (folder / DEMO_UNET).write_bytes(b"weights")
    monkeypatch.setattr(doctor, "CHECKPOINTS", folder)
    return folder


def test_names_the_machine_the_encoders_and_every_published_file(capsys, checkpoints):
    code, printed = lines(capsys, "--quick")
    assert code == 0
    assert any(line.startswith("computes on ") for line in printed)
    for file in published_files():
        assert f"  {file.path}: missing ({file.repository})" in printed
    for name, origin in COPIED_BY_HAND.items():
        assert f"  {name}: missing ({origin})" in printed
    for task in doctor.TASKS:
        assert any(line.startswith(f"{task.name}: ") for line in printed)


def test_hashes_are_of_the_files(capsys, checkpoints):
    (checkpoints / "demo" / "tiny.pt").write_bytes(b"abc")
    _, printed = lines(capsys)
    assert "  demo/tiny.pt: 0.0 MB, sha256 ba7816bf8f01cfea" in printed  # of "abc", FIPS 180-2's example


def test_a_file_that_no_command_downloads_is_named_with_its_origin_until_it_is_there(capsys, checkpoints):
    task = "recognize people across cuts by their faces"
    _, printed = lines(capsys, "--quick")
    assert f"{task}: possible with limits" in printed
    assert "  to get 20180402-114759-vggface2.pt: copy it from the release page of facenet-pytorch" in printed
    (checkpoints / FACE_EMBEDDING).parent.mkdir()
    (checkpoints / FACE_EMBEDDING).write_bytes(b"weights")
    _, printed = lines(capsys, "--quick")
    assert f"{task}: ready" in printed


def test_the_search_for_things_before_the_mouth_says_what_it_lacks(capsys, checkpoints, monkeypatch):
    monkeypatch.setitem(sys.modules, "uniface.constants", None)  # an import of it fails, whatever other tests left
    _, printed = lines(capsys, "--quick")
    at = printed.index("find things in front of the mouth (--occluder auto): not possible yet")
    assert "requires the package uniface: pip install" in printed[at + 1]


def test_a_unet_of_an_unknown_release_is_named_and_the_exit_code_says_so(capsys, checkpoints):
    for name in (UNET, WHISPER_TINY, VAE_CONFIG, VAE_WEIGHTS):
        (checkpoints / name).parent.mkdir(parents=True, exist_ok=True)
        (checkpoints / name).write_bytes(b"weights")
    code, printed = lines(capsys, "--quick")
    assert code == 1
    assert any(line.startswith("weights: ") and "is of an unknown release" in line for line in printed)


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    task = doctor.Task("anything", ("torch", "no-such-package-here"))
    assert list(doctor._task(task)) == ["anything: not possible yet", "  install: pip install no-such-package-here"]


def test_a_missing_package_does_not_end_the_report(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "_is_installed", lambda name: name != "diffusers")
    code, printed = lines(capsys, "--quick")
    assert code == 1
    assert any("diffusers MISSING" in line for line in printed)
    assert any("pip install diffusers" in line for line in printed)


def test_without_ffmpeg_nothing_can_be_made_and_the_exit_code_says_so(capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    code, printed = lines(capsys, "--quick")
    assert code == 1
    assert any(line.startswith("ffmpeg: MISSING") for line in printed)


def test_every_weight_a_task_names_is_a_published_file():
    published = {file.path for file in published_files()} | COPIED_BY_HAND.keys()
    for task in doctor.TASKS:
        assert set(task.weights) <= published
        assert not task.weights or task.fallback


@pytest.mark.parametrize("task", doctor.TASKS, ids=lambda task: task.name)
def test_tasks_name_distributions_as_pyproject_does(task, request):
    declared = (request.config.rootpath / "pyproject.toml").read_text()
    for package in task.packages:
        assert f'"{package}' in declared, package
