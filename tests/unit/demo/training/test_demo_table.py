import json

import pytest

from benchmarks.demo_table import parse_row, table


def test_mean_and_spread_of_the_runs_of_a_row(tmp_path):
    for name, opening in (("a0", 0.9), ("a1", 0.8), ("a2", 0.7), ("b0", 0.5)):
        (tmp_path / name).mkdir()
        figures = {"dubs": {"key": "k", "figures": {"opening": opening}}}
        (tmp_path / name / "figures.json").write_text(json.dumps(figures))
    rows = [
        parse_row(f"sync loss 0.05={tmp_path}/a0,{tmp_path}/a1,{tmp_path}/a2"),
        parse_row(f"weight=0={tmp_path}/b0"),
    ]
    lines = table(rows, ["dubs.opening"]).splitlines()
    assert lines[0] == "| | opening | runs |"
    assert lines[2:] == ["| sync loss 0.05 | 0.800 ± 0.100 | 3 |", "| weight=0 | 0.500 | 1 |"]


@pytest.mark.parametrize("text", ["runs/a", "=runs/a", "name=", "name=a,,b"])
def test_a_wrong_row_is_refused(text):
    with pytest.raises(ValueError, match="FOLDER"):
        parse_row(text)
