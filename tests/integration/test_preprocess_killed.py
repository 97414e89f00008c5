"""A run of the data pipeline that is killed again and again ends as one that nobody disturbs."""

import multiprocessing
import random
import signal
from pathlib import Path

from preprocess.store.manifest import Manifest
from tests.fake_run import records, run_in_processes, tree, write_raw

NUM_KILLS = 20
MOST_LINES = 800
"""Python lines of the driver between the end of a run's first job and the kill; a job takes some 200."""


def run(raw: Path, root: Path, kill_at_line: int | None = None) -> int | None:
    """A driver process of its own; it is forked from a server that has imported everything, so it begins at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.fake_run"])
    driver = context.Process(target=run_in_processes, args=(raw, root, kill_at_line))
    driver.start()
    driver.join()
    return driver.exitcode


def test_twenty_kills_change_nothing(tmp_path: Path) -> None:
    texts = [f"a{index}\nkeep{index}" for index in range(8)]
    raw = write_raw(tmp_path / "raw", *texts, "reject", "crash\nfine", "raise", texts[0])
    undisturbed, root = tmp_path / "undisturbed", tmp_path / "killed"
    assert run(raw, undisturbed) == 0

    chance = random.Random(4)
    for _ in range(NUM_KILLS):
        assert run(raw, root, chance.randint(1, MOST_LINES)) == -signal.SIGKILL
    assert records(root) != records(undisturbed), "the kills did not come in the middle of the work"

    assert run(raw, root) == 0
    assert tree(root) == tree(undisturbed)
    assert records(root) == records(undisturbed)
    assert not list(root.glob(".latentsync-*"))
    for manifest in Manifest.existing(root):
        with manifest:
            assert manifest.is_complete
            assert list(manifest.iter_rows()) == list(manifest.iter_rows(current_only=False))
