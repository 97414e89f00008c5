"""Results of adaptations of several sessions in one file, and their table."""

import json
from pathlib import Path

import pytest

from benchmarks.adaptation_results import Training, Trial, TrialResult, read_results, write_results
from benchmarks.adaptation_table import METRICS, add_results, main, table, table_of_trials
from eval.stored_results import ResultLog
from latentsync.errors import InputError
from latentsync.weights import REPOSITORY_ROOT

TRAINING = Training("600 steps", ("adaptation.decoder.share=0.34",))
OPENING = "opening, reader"


def result(person: int, before: float, after: float, seed: int = 0) -> TrialResult:
    values = {f"before {OPENING}": before, f"after {OPENING}": after, "truth flicker": 1.0}
    return TrialResult(Trial(person, "pseudo", False, seed), TRAINING, "abcdef", values)


def measurement(out: Path, trials: dict[Trial, Training]) -> Path:
    """The folder of a measurement with finished trials, as `benchmarks.adaptation` leaves it."""
    log = ResultLog(out / "results.jsonl")
    for trial, training in trials.items():
        log.get(training.key(trial), str(trial), lambda: {f"before {OPENING}": 0.91234567})
        trial.folder(out).mkdir(parents=True)
        record = {"base": "unet.pt", "belongs_to": {"unet.pt": "abcdef0123456789", "whisper.pt": "0"}}
        (trial.folder(out) / "adapt.json").write_text(json.dumps(record))
    return out


def cells(table: str) -> dict[str, list[str]]:
    """Cells of a table with one group by the name of their row."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {line[lines[0].index("mouths")]: line for line in (lines[0], *lines[2:])}


def test_the_key_of_a_trial_is_that_of_the_stored_measurements():
    trial = Trial(3, "own", True, 1)
    assert trial.name == "own_mixed_1"
    assert TRAINING.key(trial) == "41e6aefe5373ffd774c740e545d3a235d477e67c"
    assert Trial.parse("Trial(person=3, audio='own', is_mixed=True, seed=1)") == trial


def test_seeds_are_averaged_first_and_intervals_are_over_people():
    rows = cells(table([result(0, 0.9, 0.8), result(0, 0.9, 0.6, seed=1), result(1, 0.7, 0.9)]))
    column = rows["mouths"].index(OPENING)
    assert rows["after"][:6] == [str(TRAINING), "abcdef", "pseudo", "2", "2", "after"]
    assert rows["after"][column] == "0.8 [0.7, 0.9]"
    assert rows["change"][column] == "0 [-0.2, 0.2]"
    assert rows["truth"][rows["mouths"].index("flicker")] == "1 [1, 1]"
    assert rows["truth"][column] == ""


def test_a_value_that_one_seed_has_is_that_of_the_person():
    one, other = result(0, 0.9, 0.8), result(0, 0.9, 0.6, seed=1)
    one.values["after flicker"] = 1.2
    rows = cells(table([one, other]))
    assert rows["after"][rows["mouths"].index("flicker")] == "1.2"


def test_people_within_the_targets_are_counted():
    rows = cells(table([result(0, 0.92, 0.9), result(1, 0.99, 0.94), result(2, 0.8, 0.899)]))
    column = rows["mouths"].index(OPENING)
    assert rows["people within the target, after"][column] == "2 of 3"
    assert rows["people within the target, change"][column] == "2 of 3"
    assert rows["people within the target, after"][rows["mouths"].index("sharpness")] == ""


def test_the_comparison_with_renderings_is_compared_with_what_the_reader_read_before():
    one = result(0, 0.92, 0.8)
    one.values["after opening, renderings"] = 0.9
    rows = cells(table([one]))
    column = rows["mouths"].index("opening, renderings")
    assert (rows["before"][column], rows["change"][column]) == ("", "-0.02")
    assert rows["people within the target, change"][column] == "1 of 1"


def test_every_trial_has_a_row_with_before_after_and_truth():
    one = result(4, 0.92, 0.9, seed=2)
    one.values.update({f"truth {OPENING}": 0.95, "guidance": 2.0, "after leak, renderings": -0.0004})
    head, _, row = table_of_trials([one]).splitlines()
    values = dict(zip(*([cell.strip() for cell in line.strip("|").split("|")] for line in (head, row)), strict=True))
    assert values == dict.fromkeys(METRICS, "") | {
        "training": str(TRAINING), "audio": "pseudo", "person": "4", "seed": "2", "guidance": "2",
        OPENING: "0.92 -> 0.9 (0.95)", "leak, renderings": "0", "flicker": "(1)",
    }  # fmt: skip


def test_one_person_has_no_interval():
    rows = cells(table([result(0, 0.9, 0.8)]))
    assert rows["after"][rows["mouths"].index(OPENING)] == "0.8"


def test_results_of_several_folders_are_added_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first, second = Trial(0, "pseudo", False, 0), Trial(1, "own", True, 2)
    other = Training("10 minutes")
    folders = [
        measurement(tmp_path / "a", {first: TRAINING, Trial(5, "own", False, 0): other}),
        measurement(tmp_path / "b", {second: TRAINING}),
    ]
    path = tmp_path / "collected.jsonl"
    for num_added in (2, 0):
        add_results(path, folders, TRAINING)
        assert f"{num_added} added with {TRAINING}, 2 trials" in capsys.readouterr().out
    values = {f"before {OPENING}": 0.9123}
    add_results(path, folders, Training("1 step"))
    assert read_results(path) == [
        TrialResult(second, TRAINING, "abcdef012345", values),
        TrialResult(first, TRAINING, "abcdef012345", values),
    ]
    line = str(path), "--add", *map(str, folders), "--steps", "600", "adaptation.decoder.share=0.34"
    assert main(list(line)) == 0
    assert "600 steps adaptation.decoder.share=0.34 | abcdef012345 | own, mixed clips | 1" in capsys.readouterr().out


def test_files_that_cannot_be_used_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "collected.jsonl"
    with pytest.raises(InputError, match=r"collected\.jsonl cannot be read"):
        read_results(path)
    write_results(path, [result(0, 0.9, 0.8)])
    assert read_results(path) == [result(0, 0.9, 0.8)]
    path.write_text(path.read_text()[:-10])
    assert main([str(path)]) == 2
    assert "collected.jsonl is damaged" in capsys.readouterr().err
    assert main([str(tmp_path / "new.jsonl"), "--add", str(tmp_path / "absent")]) == 2
    assert "results.jsonl cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "new.jsonl").exists()


def test_the_committed_results_are_printed(capsys: pytest.CaptureFixture[str]):
    path = REPOSITORY_ROOT / "docs" / "adapt" / "results.jsonl"
    results = read_results(path)
    assert len({(one.trial, one.training, one.base) for one in results}) == len(results)
    assert main([str(path), "--each"]) == 0
    groups = {(one.training, one.base, one.trial.audio, one.trial.is_mixed) for one in results}
    printed = capsys.readouterr().out
    assert printed.count("| after |") == len(groups) > 0
    assert printed.split("\n\n")[1].count(" -> ") >= len(results)
