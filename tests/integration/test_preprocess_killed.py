"""A run of the data pipeline that is killed repeatedly gives the same result as an uninterrupted run."""

import multiprocessing
import random
import signal
from pathlib import Path

from preprocess.store.manifest import Manifest
from tests.fake_run import records, run_in_processes, tree, write_raw

NUM_KILLS = 20
MAX_LINES = 800
"""Python lines of the main process between the end of a run's first task and the kill; a task takes about 200."""


def run(raw: Path, root: Path, kill_at_line: int | None = None) -> int | None:
    """Run the pipeline in a process forked from a server that has imported everything; return its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fake_run"])
    process = context.Process(target=run_in_processes, args=(raw, root, kill_at_line))
    process.start()
    process.join()
    return process.exitcode


def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    texts = [f"a{index}\nkeep{index}" for index in range(8)]
    raw = write_raw(tmp_path / "raw", *texts, "reject", "crash\nfine", "raise", texts[0])
    uninterrupted, root = tmp_path / "uninterrupted", tmp_path / "killed"
    assert run(raw, uninterrupted) == 0

    chance = random.Random(4)
    for _ in range(NUM_KILLS):
        assert run(raw, root, chance.randint(1, MAX_LINES)) == -signal.SIGKILL
    assert records(root) != records(uninterrupted), "the kills did not interrupt the work"

    assert run(raw, root) == 0
    assert tree(root) == tree(uninterrupted)
    assert records(root) == records(uninterrupted)
    assert not list(root.glob(".latentsync-*"))
    for manifest in Manifest.existing(root):
        with manifest:
            assert manifest.is_complete
            assert list(manifest.iter_rows()) == list(manifest.iter_rows(current_only=False))
