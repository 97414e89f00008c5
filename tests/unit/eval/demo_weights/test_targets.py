from eval.demo_weights.targets import TARGETS, markdown_table


def row(table: str, start: str) -> str:
    return next(line for line in table.splitlines() if line.startswith(f"| {start}"))


def test_every_row_of_the_table_states_whether_the_target_is_met():
    good = {target.group: {} for target in TARGETS}
    for target in TARGETS:
        good[target.group][target.quantity] = target.limit
    table = markdown_table(good)
    assert len(table.splitlines()) == len(TARGETS) + 2
    assert table.count("| yes |") == len(TARGETS)


def test_a_missed_target_and_a_missing_value():
    table = markdown_table({"syncnet": {"accuracy": 0.939}, "dubs": {"flicker_ratio": 1.31}})
    assert row(table, "SyncNet accuracy").endswith("| >= 94.0% | 93.9% | **no** |")
    assert row(table, "flicker").endswith("| <= 1.300 | 1.310 | **no** |")
    assert row(table, "VAE reconstruction").endswith("| not measured | - |")
