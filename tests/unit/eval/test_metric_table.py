from pathlib import Path

import pytest

from eval.metric_table import BEGIN, END, main, metric_lines, with_table
from eval.metrics.metric import all_metrics
from latentsync.errors import InputError


def test_the_documentation_tells_every_metric_as_it_is_now(repository: Path):
    text = (repository / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert with_table(text, "docs/evaluation.md") == text, "run python -m eval.metric_table --write docs/evaluation.md"


def test_the_table_has_a_line_for_each_metric_with_its_protocol():
    lines = metric_lines().splitlines()
    assert len(lines) == 2 + len(all_metrics())
    assert all(metric.protocol[:20] in line for metric, line in zip(all_metrics().values(), lines[2:], strict=True))


def test_only_what_is_between_the_marks_changes(tmp_path: Path):
    document = tmp_path / "d.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    assert main(["--write", str(document)]) == 0
    text = document.read_text()
    assert text.startswith(f"before\n{BEGIN}\n| metric |")
    assert text.endswith(f" |\n{END}\nafter\n")
    with pytest.raises(InputError, match="no place"):
        with_table("nothing", "d.md")
