import multiprocessing
import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from latentsync.data.clip_list import list_clips
from latentsync.errors import CheckpointError
from latentsync.storage.owned_folder import claim_folder
from preprocess.config import PreprocessConfig, build_steps
from preprocess.store.manifest import Manifest
from tests.fake_pipeline import leave_with_status, run_command
from tests.fake_run import records, tree, write_raw
from tests.fake_steps import CheckStep, StampStep
from tests.lock_holder import held_by_process

PATIENCE_S = 60


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_raw(tmp_path / "raw", *(f"a{index}\nkeep{index}" for index in range(4)), "reject")


@pytest.fixture(autouse=True)
def _same_handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def command(raw: Path, root: Path, *more: str) -> int:
    return run_command(["--input_dir", str(raw), "--output_dir", str(root), *more])


def test_a_whole_run(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "o u t"
    assert command(raw, root) == 0
    out = capsys.readouterr().out
    assert "input: 5 files" in out
    assert "1 check            5 in        4 out; rejected: 1 asked_for" in out
    assert "3 stamp            8 in        8 out" in out
    lists = {name: list_clips(root / "stamped" / f"{name}.txt") for name in ("all", "train", "validation")}
    assert len(lists["all"]) == 8
    assert set(lists["train"]) | set(lists["validation"]) == set(lists["all"])
    assert all(path.is_file() for path in lists["all"])
    before = tree(root)
    assert command(raw, root, "seed=1") == 0
    assert len(list_clips(root / "stamped" / "all.txt")) == 8, "clips of other settings are not listed"
    assert command(raw, root) == 0
    assert {name: text for name, text in tree(root).items() if name in before} == before


def test_limit_and_list(raw: Path, tmp_path: Path) -> None:
    assert command(raw, tmp_path / "out", "--limit", "2") == 0
    listed = tmp_path / "list.txt"
    listed.write_text("raw/video 0.mp4\nraw/video 3.mp4\nraw/none.mp4\n")
    assert run_command(["--input_list", str(listed), "--output_dir", str(tmp_path / "out")]) == 0
    with Manifest.existing(tmp_path / "out")[0] as manifest:
        rows = list(manifest.iter_rows())
        assert manifest.counts(manifest.step.chain if manifest.step else "").num_rows == 4
    assert sorted((row.input_path.name, row.status) for row in rows) == [
        ("none.mp4", "failed"), ("video 0.mp4", "done"), ("video 3.mp4", "done")
    ]  # fmt: skip


def test_a_dry_run_writes_nothing(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "out"
    assert command(raw, root, "--dry_run", "--skip_steps", "2", "--resolution", "128") == 0
    out = capsys.readouterr().out
    assert not root.exists()
    for line in ("input: 5 files", "resolution: 128", "step 1 check: no weights; nothing recorded",
                 "step 2 split: skipped: clips pass; nothing recorded", f"output_dir: {root}"):  # fmt: skip
        assert line in out
    assert command(raw, root, "--steps", "1") == 0
    assert command(raw, root, "--dry_run") == 0
    assert "step 1 check: no weights; recorded: 4 done, 1 rejected, 0 failed" in capsys.readouterr().out


def foreign(root: Path) -> None:
    (root / "logs").mkdir(parents=True)
    (root / "logs" / "letter.txt").write_text("the user's")


def of_the_app(root: Path) -> None:
    claim_folder(root, "app", "")


def a_file(root: Path) -> None:
    root.write_text("the user's")


def nothing(root: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("prepare", "arguments", "message"),
    [
        (foreign, [], "holds files that this program did not make"),
        (of_the_app, [], "belongs to another program (app)"),
        (a_file, [], "is a file, not a folder"),
        (nothing, ["--output_dir", "{root}/" + "x" * 300], "File name too long"),
        (nothing, ["--output_dir", "{raw}"], "choose an --output_dir outside the raw videos"),
        (nothing, ["--output_dir", "{raw}/.."], "choose an --output_dir outside the raw videos"),
        (nothing, ["--input_dir", "{raw}/none"], "not a folder"),
        (nothing, ["--steps", "2-3"], "step 1 check was not run in"),
        (nothing, ["--steps", "2", "--limit", "3"], "--limit counts raw files"),
        (nothing, ["--config", "none.yaml"], "none.yaml"),
        (nothing, ["sync.scorrer=x"], "scorrer"),
    ],
)
def test_a_dry_run_prints_the_errors_of_the_run(
    raw: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    prepare: Callable[[Path], None],
    arguments: list[str],
    message: str,
) -> None:
    root = tmp_path / "out"
    prepare(root)
    more = [argument.format(root=root, raw=raw) for argument in arguments]
    before = files_in(tmp_path)
    assert command(raw, root, "--dry_run", *more) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert files_in(tmp_path) == before
    assert command(raw, root, *more) == 2
    assert capsys.readouterr().err == told


def files_in(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_a_dry_run_detects_a_run_and_a_list_in_the_output(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "out"
    assert command(raw, root) == 0
    listed = root / "stamped" / "all.txt"
    before = listed.read_bytes()
    capsys.readouterr()
    for more in ([], ["--dry_run"]):
        assert run_command(["--input_list", str(listed), "--output_dir", str(root), *more]) == 2
        assert "lies in the output folder" in capsys.readouterr().err
    assert listed.read_bytes() == before
    with held_by_process(root) as process:
        for more in ([], ["--dry_run"]):
            assert command(raw, root, *more) == 2
            assert f"in use by process {process.pid}" in capsys.readouterr().err
        process.kill()
    assert command(raw, root, "--dry_run") == 0


def test_a_record_that_cannot_be_written_is_one_line(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "out"
    assert command(raw, root, "--steps", "1") == 0
    with closing(sqlite3.connect(root / "manifest" / "1_check.sqlite")) as database, database:
        database.execute("CREATE TRIGGER t BEFORE INSERT ON records BEGIN SELECT RAISE(ABORT, 'the disk'); END")
        database.execute("DELETE FROM records")
    capsys.readouterr()
    assert command(raw, root) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"error: .*/manifest cannot be written .*the same command resumes", told)


def test_missing_weights_stop_the_run_before_it_starts(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def weights(_: StampStep) -> list[Path]:
        raise CheckpointError("no a.pt: download it")

    monkeypatch.setattr(StampStep, "weights", weights)
    assert command(raw, tmp_path / "out") == 2
    assert capsys.readouterr().err == "error: step 3 (stamp): no a.pt: download it; or skip the step: --skip_steps 3\n"
    assert not (tmp_path / "out").exists()
    assert command(raw, tmp_path / "out", "--skip_steps", "3") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "4"], "steps are numbered from 1 to 3"),
        (["--steps", "2", "--limit", "3"], "--limit counts raw files"),
        (["sync.scorrer=x"], "scorrer"),
        (["--config", "/none.yaml"], "/none.yaml"),
        (["--input_list", "x"], "one of the two"),
        (["faces.resolution=300"], "set resolution"),
        (["skip_steps=[5]"], "skip 6 and 7 too"),
        (["validation_share=2"], "validation_share"),
    ],
)
def test_bad_input_is_one_line(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert command(raw, tmp_path / "out", *arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--limit", "0"], ["--clip_timeout_s", "nan"], ["--num_workers", "x"], ["--no"]])
def test_a_wrong_option_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command(tmp_path, tmp_path / "out", *arguments)
    assert re.fullmatch(r"error: .* \(see --help\)\n", capsys.readouterr().err)


def start(raw: Path, root: Path, pause_s: float, stderr: Path) -> ForkServerProcess:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fake_pipeline"])
    arguments = ["--input_dir", str(raw), "--output_dir", str(root)]
    process = context.Process(target=leave_with_status, args=(arguments, pause_s, str(stderr)))
    process.start()
    return process


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_stops_in_order(raw: Path, tmp_path: Path, number: int, status: int) -> None:
    root, stderr = tmp_path / "out", tmp_path / "stderr"
    process = start(raw, root, 0.5, stderr)
    assert process.pid is not None
    deadline = time.monotonic() + PATIENCE_S
    while not any(records(root).values()) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, number)
    process.join()
    assert process.exitcode == status
    assert stderr.read_text().endswith("stopped; the same command resumes\n")
    assert not list(root.glob(".latentsync-*"))
    assert command(raw, root) == 0
    assert command(raw, tmp_path / "uninterrupted") == 0
    assert tree(root) == tree(tmp_path / "uninterrupted")


def test_resolution_and_settings_reach_the_steps() -> None:
    steps = build_steps(PreprocessConfig(resolution=128))
    assert [step.number for step in steps] == list(range(1, 9))
    assert (steps[4].config.resolution, steps[5].config.resolution) == (128, 128)
    assert len({step.name for step in steps}) == 8
    assert isinstance(CheckStep().number, int)
