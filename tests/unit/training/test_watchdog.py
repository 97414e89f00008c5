import pytest

from latentsync.training.watchdog import ChanceWatchdog, WatchdogConfig

CHANCE = 0.6931


def warnings(watchdog: ChanceWatchdog, losses: dict[int, float]) -> dict[int, str]:
    lines = {step: watchdog(step, {"loss": 5.0, "sync_loss": loss}) for step, loss in losses.items()}
    return {step: line for step, line in lines.items() if line is not None}


def test_flat_loss_is_told_once_then_each_time_the_steps_double():
    watchdog = ChanceWatchdog(WatchdogConfig(patience_steps=100), ["do this", "do that"])
    lines = warnings(watchdog, dict.fromkeys(range(10, 450, 10), CHANCE))
    assert list(lines) == [100, 200, 400]
    assert "0.693) after 100 steps" in lines[100]
    assert lines[100].endswith("do this; do that")
    assert "\n" not in lines[100]


def test_falling_loss_is_left_alone_even_where_it_swings_back():
    watchdog = ChanceWatchdog(WatchdogConfig(patience_steps=100), ["do this"])
    assert warnings(watchdog, {50: 0.66, 100: CHANCE, 200: CHANCE}) == {}


def test_within_the_margin_is_still_chance():
    assert warnings(ChanceWatchdog(WatchdogConfig(100, margin=0.02), ["x"]), {50: 0.68, 100: 0.68})
    assert not warnings(ChanceWatchdog(WatchdogConfig(100, margin=0.01), ["x"]), {50: 0.68, 100: 0.68})


def test_no_patience_is_no_watch():
    assert warnings(ChanceWatchdog(WatchdogConfig(patience_steps=0), ["x"]), {1: CHANCE, 10**6: CHANCE}) == {}


@pytest.mark.parametrize("values", [{"patience_steps": -1}, {"margin": 0.0}])
def test_bad_settings_are_named(values):
    with pytest.raises(ValueError, match="watchdog"):
        WatchdogConfig(**values)
