"""For every reason why torch cannot use a card, the message is one line with the remedy."""

import logging
from pathlib import Path

import pytest
import torch

from latentsync import device as device_module
from latentsync import doctor
from latentsync.accelerator import (
    BUILDS,
    DRIVER_RELEASES,
    explain_unusable_card,
    find_driver,
    has_kernels,
    is_usable,
)
from latentsync.device import resolve_device
from latentsync.errors import InputError
from tests.fake_nvidia import ARCHITECTURES, HEADER, hide_system_driver, put_nvidia_smi, set_torch

NEWER_HEADER = "| NVIDIA-SMI {release}   KMD Version: {release}   CUDA UMD Version: {cuda}  |"


@pytest.fixture(autouse=True)
def _bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_system_driver(tmp_path, monkeypatch)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    device_module._warn_of_unused_card.cache_clear()


def test_a_machine_without_a_card_is_not_warned(caplog: pytest.LogCaptureFixture):
    assert find_driver() is None
    assert explain_unusable_card() is None
    assert resolve_device() == torch.device("cpu")
    assert not caplog.records
    with pytest.raises(InputError, match="'cuda' is not present on this machine"):
        resolve_device("cuda")


CASES = {
    "CPU build, driver of CUDA 13": (
        {"release": "580.65.06", "cuda": "13.0"},
        {},
        ["NVIDIA GeForce RTX 3090 (driver 580.65.06, CUDA 13.0)", "is a CPU build", "--torch cuda`"],
    ),
    "CPU build, driver of CUDA 12": ({}, {}, ["is a CPU build", "--torch cu126`"]),
    "CPU build, old card": (
        {"release": "580.65.06", "cuda": "13.0", "capability": "6.1"},
        {},
        ["is a CPU build", "--torch cu126`"],
    ),
    "CPU build, driver of CUDA 11": (
        {"release": "470.57.02", "cuda": "11.4", "capability": None},
        {},
        ["is a CPU build", "update the NVIDIA driver to 525 or newer", "--torch cu126`"],
    ),
    "CPU build, new card, driver of CUDA 12": (
        {"release": "570.86", "cuda": "12.8", "capability": "12.0"},
        {},
        ["update the NVIDIA driver to 580 or newer", "--torch cuda`"],
    ),
    "CPU build, card no build supports": (
        {"capability": "3.5", "release": "470.57.02", "cuda": "11.4"},
        {},
        ["no current build of torch"],
    ),
    "ROCm build": ({}, {"hip": "6.4"}, ["is a ROCm build", "--torch cu126`"]),
    "driver too old for the build": (
        {},
        {"cuda": "13.0"},
        ["the driver is too old", "a build for CUDA 13.0", "--torch cu126`", "update the driver to 580 or newer"],
    ),
    "driver too old for every build": (
        {"release": "470.57.02", "cuda": "11.4"},
        {"cuda": "12.6"},
        ["the driver is too old", "update the NVIDIA driver to 525 or newer"],
    ),
    "driver new enough": ({}, {"cuda": "12.6"}, ["does not see it, though the driver is new enough"]),
    "header of newer drivers": (
        {"release": "595.10", "cuda": "13.2", "header": NEWER_HEADER},
        {},
        ["(driver 595.10, CUDA 13.2)", "--torch cuda`"],
    ),
    "header without CUDA": ({"header": "Driver Version: {release}"}, {}, ["(driver 535.104.05, CUDA 12.0)", "cu126`"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_line_names_card_cause_and_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str):
    answers, build, said = CASES[case]
    put_nvidia_smi(tmp_path, monkeypatch, **answers)
    set_torch(monkeypatch, **build)
    line = explain_unusable_card()
    assert line is not None
    for words in said:
        assert words in line
    assert len(line.splitlines()) == 1
    assert ("CPU build" in line) == (not build)


def test_the_cpu_is_taken_with_one_warning_and_a_named_card_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    put_nvidia_smi(tmp_path, monkeypatch)
    for _ in range(2):
        assert resolve_device("auto") == torch.device("cpu")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "computing on the CPU: NVIDIA GeForce RTX 3090" in caplog.text
    assert "source setup_env.sh --torch cu126" in caplog.text
    with pytest.raises(InputError, match=r"device 'cuda': NVIDIA .* CPU build; .*--torch cu126.*--device auto"):
        resolve_device("cuda")


def test_cards_hidden_on_purpose_are_no_warning_but_an_error_when_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    put_nvidia_smi(tmp_path, monkeypatch)
    set_torch(monkeypatch, cuda="12.6")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert resolve_device() == torch.device("cpu")
    assert not caplog.records
    with pytest.raises(InputError, match="CUDA_VISIBLE_DEVICES hides it; unset it"):
        resolve_device("cuda")


def test_a_card_without_kernels_leaves_the_cpu_and_names_the_build_that_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    put_nvidia_smi(tmp_path, monkeypatch, release="580.65.06", cuda="13.0", capability="6.1")
    set_torch(monkeypatch, cuda="13.0", capability=(6, 1))
    assert resolve_device() == torch.device("cpu")
    assert "GTX 1080 cannot be used: torch" in caplog.text
    assert "no kernels for its compute capability 6.1; run `source setup_env.sh --torch cu126`" in caplog.text
    with pytest.raises(InputError, match=r"'cuda:0': .*--torch cu126"):
        resolve_device("cuda:0")
    set_torch(monkeypatch, cuda="12.6", capability=(6, 1), architectures=["sm_50", "sm_60", "sm_70"])
    assert resolve_device() == torch.device("cuda")
    assert resolve_device("cuda:0") == torch.device("cuda:0")


def test_a_rocm_build_that_sees_its_card_uses_it(monkeypatch: pytest.MonkeyPatch):
    set_torch(monkeypatch, hip="6.4", capability=(11, 0), architectures=["gfx1100"])
    assert is_usable()
    assert resolve_device() == torch.device("cuda")


@pytest.mark.parametrize(
    ("capability", "architectures", "expected"),
    [
        ((8, 6), ["sm_86"], True),
        ((8, 9), ["sm_80"], True),  # machine code: same major, equal or higher minor
        ((8, 0), ["sm_86"], False),
        ((9, 0), ["sm_80", "sm_86"], False),
        ((9, 0), ["sm_80", "compute_86"], True),  # PTX: every later card
        ((7, 5), ["compute_80"], False),
        ((9, 0), ["sm_90a"], True),
        ((12, 1), ["sm_120a", "compute_120a"], False),
        ((12, 1), ["sm_120f"], True),
        ((7, 5), ARCHITECTURES, True),
        ((7, 0), ARCHITECTURES, False),
        ((12, 0), ARCHITECTURES, True),
        ((7, 0), [], True),  # torch's own answer where it does not know
    ],
)
def test_which_code_runs_on_which_card(capability, architectures: list[str], expected: bool):
    assert has_kernels(capability, architectures) is expected


def test_the_capabilities_of_the_builds_are_torchs_own_table():
    table = getattr(torch.cuda, "PYTORCH_RELEASES_CODE_CC", None)
    if table is None:
        pytest.skip("this torch has no table of its builds")
    for build in BUILDS:
        releases = [name for name in table if name.startswith(f"{build.cuda}.")]
        if not releases:
            pytest.skip(f"this torch lists no build for CUDA {build.cuda}")
        name = min(releases, key=lambda text: int(text.split(".")[1]))
        codes = sorted(table[name]["x86_64"])
        assert divmod(codes[0], 10) == build.lowest
        assert build.highest[0] >= codes[-1] // 10


def test_without_nvidia_smi_the_kernel_modules_files_are_read(tmp_path: Path):
    (tmp_path / "version").write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder)\n"
        "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
    )
    line = explain_unusable_card()
    assert line is not None
    assert "(driver 580.65.06, CUDA 13.0)" in line
    assert "start the container with --gpus all" in line
    (tmp_path / "nvidia0").touch()
    assert "is a CPU build; run `source setup_env.sh --torch cuda`" in (explain_unusable_card() or "")


def test_a_failing_nvidia_smi_speaks_for_a_card_only_with_the_drivers_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    put_nvidia_smi(
        tmp_path, monkeypatch, header="Failed to initialize NVML: Driver/library version mismatch", status=18
    )
    assert explain_unusable_card() is None
    (tmp_path / "nvidia0").touch()
    assert "nvidia-smi fails (Failed to initialize NVML" in (explain_unusable_card() or "")
    put_nvidia_smi(tmp_path, monkeypatch, header="No devices were found")
    (tmp_path / "nvidia0").unlink()
    assert explain_unusable_card() is None


def test_an_nvidia_smi_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr("latentsync.accelerator.TIMEOUT_S", 0.2)
    (tmp_path / "nvidia0").touch()
    assert "nvidia-smi fails (no answer)" in (explain_unusable_card() or "")


def test_every_build_has_a_driver_release():
    assert all(build.cuda in DRIVER_RELEASES for build in BUILDS)


def test_the_doctor_prints_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture):
    put_nvidia_smi(tmp_path, monkeypatch, header=HEADER)
    lines = list(doctor._machine())
    assert [line for line in lines if line.startswith("WARNING: NVIDIA GeForce RTX 3090")]
    assert any(line.startswith("computes on cpu in ") for line in lines)
    assert not caplog.records  # said once
