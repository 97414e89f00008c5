"""The GPU report, whole, at tiny sizes on the CPU."""

import json
from pathlib import Path

import pytest
import torch

from benchmarks.gpu_report.__main__ import SECTIONS, main
from benchmarks.gpu_report.section import MEASURED, SIZES, Setup
from benchmarks.gpu_report.throughput import unet_flops

QUICK = [name for name in SECTIONS if name != "demo_training"]


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> dict:
    return run_report(tmp_path_factory.mktemp("report"), QUICK)


def run_report(out: Path, sections: list[str]) -> dict:
    arguments = ["--size", "tiny", "--device", "cpu", "--one_process", "--minutes", "60", "--out", str(out)]
    threads = torch.get_num_threads()
    assert main([*arguments, "--sections", *sections]) == 0
    torch.set_num_threads(threads)
    assert "Tiny sizes" in (out / "gpu_report.md").read_text(encoding="utf-8")
    return json.loads((out / "gpu_report.json").read_text(encoding="utf-8"))


def rows(report: dict, section: str) -> dict[str, dict]:
    return {row["case"]: row["values"] for row in report["sections"][section]["rows"]}


def test_every_case_of_every_section_is_measured(report):
    assert list(report["sections"]) == QUICK
    found = [row for section in report["sections"].values() for row in section["rows"]]
    assert [row for row in found if row["status"] != MEASURED] == []


def test_the_cpu_agrees_with_itself_in_float32_and_about_in_half_precision(report):
    errors = {case: values["relative error"] for case, values in rows(report, "parity").items()}
    assert len({case.split(",")[0] for case in errors}) >= 9
    for case, error in errors.items():
        low, high = (0, 1e-5) if case.endswith("float32") else (1e-6, 0.2)
        assert low <= error <= high, case


def test_training_steps_have_every_loss_of_their_stage(report):
    training = rows(report, "training")
    assert training["stage1"].keys() & {"epsilon", "sync", "perceptual", "trepa"} == {"epsilon"}
    assert training["stage2"].keys() >= {"epsilon", "sync", "perceptual", "trepa"}
    assert training["stage2_efficient"].keys() & {"sync", "trepa"} == {"sync"}
    assert all(values["gradient norm"] > 0 for values in training.values())


@pytest.mark.long
def test_the_demo_loss_falls(tmp_path: Path):
    report = run_report(tmp_path, ["demo_training"])
    first = next(iter(rows(report, "demo_training").values()))
    assert first["loss, last third"] < first["loss, first third"]


def test_operations_of_the_published_unet_grow_as_its_layers_say():
    setup = Setup(SIZES["published"], torch.device("cpu"))
    small, large = unet_flops(setup, 256), unet_flops(setup, 512)
    # four times the positions: convolutions and linear layers 4 x, spatial self-attention 16 x
    assert 4 < large / small < 6
