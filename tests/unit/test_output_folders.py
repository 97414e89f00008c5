"""Commands that write a folder refuse one with files of other programs, and accept one that they made before."""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks import published_path
from benchmarks.gpu_report import __main__ as gpu_report
from benchmarks.gpu_report import document
from demo.synthetic import __main__ as synthetic
from demo.synthetic import clip_set, raw
from eval import inference_videos, run, sanity, synthetic_set
from eval.demo_weights import __main__ as demo_figures
from eval.pairs import GROUND_TRUTH, Pair, write_pairs
from eval.results import write_results
from latentsync.storage.owned_folder import MARKER, check_ownership
from preprocess.report import __main__ as data_report
from tests.demo_weights import DEMO_RUN
from tests.unit.eval.demo_weights.clips import write_clips
from tests.unit.eval.made_results import made_results
from tests.unit.preprocess.report_run import write_run

pytestmark = pytest.mark.slow

USERS = ("report.md", "report.html", "results.json", "pairs.csv", "pictures/a.jpg", "videos/x.mp4", "blur.mp4",
         "images/funnel.png", "clip_00000/clip.mp4", "list.csv", "set.json", "expected.json")  # fmt: skip


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def make(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def pair_list(folder: Path) -> list[str]:
    pairs = [Pair(f"n{index}", *[folder / "a.mp4"] * 3, row=GROUND_TRUTH) for index in range(2)]
    write_pairs(folder / "pairs.csv", pairs)
    return ["--pairs", str(folder / "pairs.csv"), "--metrics", "flicker", "--device", "cpu"]


def job_list(folder: Path) -> list[str]:
    make(folder / "list.csv", "name,video\nx,a.mp4\n")
    return ["--list", str(folder / "list.csv"), *DEMO_RUN]


def pipeline_run(folder: Path) -> list[str]:
    write_run(folder / "run")
    return [str(folder / "run")]


def older_report(folder: Path) -> None:
    folder.mkdir()
    write_results(made_results({"model": {"x": {"score": 1.0}}}), folder / "results.json")


def older_videos(folder: Path) -> None:
    for name in ("videos", "records"):
        (folder / name).mkdir(parents=True)
    write_pairs(folder / "pairs.csv", [])


def older_set(folder: Path) -> None:
    make(folder / "set.json", json.dumps({"version": 1, "seed": 1, "num_clips": 2, "seconds": 1.0, "size": 96}))


def older_clips(folder: Path) -> None:
    make(folder / "clip_00000" / "meta.json", "{}")
    make(folder / "clip_00000" / "track.npy", "")


def older_raw(folder: Path) -> None:
    make(folder / ".settings.json", json.dumps({"settings": {}}))


def older_data_report(folder: Path) -> None:
    make(folder / "report.html", "<title>Report on OUT</title>")
    (folder / "images").mkdir()


def older_gpu_report(folder: Path) -> None:
    make(folder / "gpu_report.json", json.dumps({"facts": {}, "sections": {}}))


def older_figures(folder: Path) -> None:
    make(folder / "figures.json", json.dumps({"size": {"key": "k", "figures": {"bytes": 1}}}))


def held_out(folder: Path) -> list[str]:
    return ["--data", str(write_clips(folder / "clips", 1)), "--weights", str(folder)]


@dataclass(frozen=True)
class Command:
    """A command that writes to `--out`, its other arguments, and a folder of a version without marker files."""

    main: Callable[[Sequence[str]], int]
    arguments: Callable[[Path], list[str]]
    program: str
    make_older: Callable[[Path], None]
    is_of_older_version: Callable[[Path], bool]


def call_evaluate(arguments: Sequence[str]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["evaluate", *arguments])
        return demo_figures.main()


def call_synthetic(name: str) -> Callable[[Sequence[str]], int]:
    def main(arguments: Sequence[str]) -> int:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["synthetic", name, *arguments])
            return synthetic.main()

    return main


def nothing(folder: Path) -> list[str]:
    return []


REPORT = (pair_list, "evaluation report", older_report, run._is_of_older_version)
COMMANDS = {
    "eval.run": Command(run.main, *REPORT),
    "eval.sanity": Command(sanity.main, *REPORT),
    "eval.inference_videos": Command(
        inference_videos.main, job_list, "evaluation videos", older_videos, inference_videos._is_of_older_version
    ),
    "eval.synthetic_set": Command(
        synthetic_set.main, nothing, "evaluation set", older_set, synthetic_set._is_of_older_version
    ),
    "dataset": Command(
        call_synthetic("dataset"), nothing, "synthetic clips", older_clips, clip_set._is_of_older_version
    ),
    "raw": Command(call_synthetic("raw"), nothing, "raw videos", older_raw, raw._is_of_older_version),
    "gpu_report": Command(
        gpu_report.main,
        lambda folder: ["--size", "tiny"],
        "GPU report",
        older_gpu_report,
        document._is_of_older_version,
    ),
    "published_path": Command(
        published_path.main,
        lambda folder: ["--size", "tiny"],
        "GPU report",
        older_gpu_report,
        document._is_of_older_version,
    ),
    "eval.demo_weights": Command(
        call_evaluate, held_out, "demo figures", older_figures, demo_figures._is_of_older_version
    ),
    "preprocess.report": Command(
        data_report.main, pipeline_run, "data report", older_data_report, data_report._is_of_older_version
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_of_the_users_is_refused_and_left_alone(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, out = COMMANDS[name], tmp_path / "mine"
    for file in USERS:
        make(out / file, f"the user's {file}")
    arguments = command.arguments(tmp_path / "given")
    before = digests(tmp_path)
    assert command.main([*arguments, "--out", str(out)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {out} holds files that this program did not make: name another")
    assert told.count("\n") == 1
    assert digests(tmp_path) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_made_by_an_older_version_is_known(name: str, tmp_path: Path) -> None:
    command, out = COMMANDS[name], tmp_path / "out"
    command.make_older(out)
    check_ownership(out, command.program, "", command.is_of_older_version)
    assert not (out / MARKER).exists()


def test_a_video_to_be_made_may_be_no_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    older_videos(out)
    make(out / "videos" / "reconstruction-x.mp4", "made before")
    make(tmp_path / "list.csv", "name,video\nx,out/videos/reconstruction-x.mp4\n")
    before = digests(tmp_path)
    assert inference_videos.main(["--list", str(tmp_path / "list.csv"), "--out", str(out), *DEMO_RUN]) == 2
    assert "is also an input: name another --out" in capsys.readouterr().err
    assert digests(tmp_path) == before
