from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from latentsync.errors import CheckpointError, InputError
from preprocess.plan import find_weights, parse_numbers, plan_steps
from preprocess.store.keys import chain_key, hash_of, output_key, plain_config, record_key, settings_key
from tests.fake_steps import CheckStep, FakeConfig, fake_steps


def test_borders_of_parts_count() -> None:
    assert hash_of("ab", "c") != hash_of("a", "bc")
    assert len(hash_of("a")) == 40


def test_everything_that_decides_a_result_changes_the_key() -> None:
    class Newer(CheckStep):
        version = 2

    class Renamed(CheckStep):
        name = "renamed"

    same = [CheckStep(FakeConfig("a")), CheckStep(FakeConfig("a"))]
    others = [CheckStep(FakeConfig("b")), Newer(FakeConfig("a")), Renamed(FakeConfig("a"))]
    assert len({settings_key(step, ["w"]) for step in same}) == 1
    keys = {settings_key(step, ["w"]) for step in [*same, *others]} | {settings_key(same[0], ["v"])}
    assert len(keys) == 5


def test_keys_of_different_kinds_differ() -> None:
    assert len({record_key("a", "b"), chain_key("a", "b"), output_key("a", 1), hash_of("a", "b")}) == 4


def test_paths_in_settings_become_strings() -> None:
    @dataclass
    class Config:
        file: Path = Path("a/b")
        sizes: tuple[int, ...] = (1, 2)
        inner: FakeConfig = field(default_factory=FakeConfig)

    assert plain_config(Config()) == {"file": "a/b", "sizes": [1, 2], "inner": {"word": "word", "pause_s": 0.0}}


def test_a_changed_setting_changes_the_chain_from_its_step_on() -> None:
    check, split, stamp = fake_steps()
    before = plan_steps((check, split, stamp), (), str)
    after = plan_steps((check, replace(split, config=FakeConfig("new")), stamp), (), str)
    skipped = plan_steps((check, split, stamp), (2,), str)
    assert [a.chain == b.chain for a, b in zip(before, after, strict=True)] == [True, False, False]
    assert [a.settings == b.settings for a, b in zip(before, after, strict=True)] == [True, False, True]
    assert [a.chain == b.chain for a, b in zip(before, skipped, strict=True)] == [True, False, False]
    assert [planned.is_skipped for planned in skipped] == [False, True, False]


def test_weights_count_by_their_content() -> None:
    class Heavy(CheckStep):
        def weights(self) -> list[Path]:
            return [Path("a.pt")]

    keys = {plan_steps([Heavy()], (), lambda path, content=content: content)[0].settings for content in "xyx"}
    assert len(keys) == 2


def test_missing_weights_name_every_remedy() -> None:
    class Lacking(CheckStep):
        def weights(self) -> list[Path]:
            raise CheckpointError("no a.pt: download it")

    with pytest.raises(CheckpointError, match=r"step 1 \(check\): no a.pt: download it; .*--skip_steps 1"):
        find_weights(Lacking())
    plan_steps([Lacking()], (1,), str)


@pytest.mark.parametrize(
    ("text", "numbers"), [("5", (5,)), ("3-6", (3, 4, 5, 6)), ("1,2,5-8", (1, 2, 5, 6, 7, 8)), ("8, 8", (8,))]
)
def test_step_numbers(text: str, numbers: tuple[int, ...]) -> None:
    assert parse_numbers(text, 8) == numbers


@pytest.mark.parametrize("text", ["x", "3-", "-3", "0", "9", "7-9", "6-3", "", ","])
def test_texts_that_name_no_steps(text: str) -> None:
    with pytest.raises(InputError, match="steps"):
        parse_numbers(text, 8)
