from eval.demo_weights.bars import BARS, markdown_table


def row(table: str, start: str) -> str:
    return next(line for line in table.splitlines() if line.startswith(f"| {start}"))


def test_every_bar_of_the_table_says_met_or_not():
    good = {bar.group: {} for bar in BARS}
    for bar in BARS:
        good[bar.group][bar.figure] = bar.limit
    table = markdown_table(good)
    assert len(table.splitlines()) == len(BARS) + 2
    assert table.count("| yes |") == len(BARS)


def test_a_missed_bar_and_a_missing_figure():
    table = markdown_table({"syncnet": {"accuracy": 0.939}, "dubs": {"flicker_ratio": 1.31}})
    assert row(table, "SyncNet accuracy").endswith("| >= 94.0% | 93.9% | **no** |")
    assert row(table, "flicker").endswith("| <= 1.300 | 1.310 | **no** |")
    assert row(table, "VAE reconstruction").endswith("| not measured | - |")
