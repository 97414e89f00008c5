from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from demo.synthetic.speech import read_wav, write_wav
from eval.damage import BLURRED, DAMAGES, EARLY, FROZEN, LATE, RANDOM_AUDIO, blurred, frozen, shifted_audio
from eval.pairs import Pair
from eval.sanity import BETTER, EQUAL, UNCLEAR, UNKNOWN, WORSE, orders, sanity_markdown, sanity_pairs
from latentsync.errors import InputError
from tests.unit.eval.fakes import SIZE, grey_video, hum, open_clips
from tests.unit.eval.made_results import made_results


def scores(base: float, spread: float = 0.01, seed: int = 0, **others: float) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(seed)
    return {f"v{number}": {"score": base + spread * rng.normal(), **others} for number in range(12)}


@pytest.fixture
def rows() -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    truth = scores(1.0, offset=0.0)
    return {
        "ground_truth": truth,
        "model": scores(0.9, seed=1, offset=0.0),
        LATE: scores(0.5, seed=2, offset=-5.0),
        EARLY: scores(1.0, 0.2, seed=3, offset=5.0),
        BLURRED: truth,
        RANDOM_AUDIO: scores(1.5, seed=4),
    }


def test_verdicts_separate_differences_chance_and_insensitivity(
    rows: Mapping[str, Mapping[str, Mapping[str, float]]],
):
    found = {one.quantity: one for one in orders(made_results(rows), "cross_audio")}
    score = found["score"]
    assert score.against_truth == {
        "model": WORSE, LATE: WORSE, EARLY: UNCLEAR, BLURRED: EQUAL, RANDOM_AUDIO: BETTER,
    }  # fmt: skip
    assert score.statement() == f"WRONG on {RANDOM_AUDIO}; not shown for {EARLY}; insensitive to {BLURRED}"
    assert score.against_good[LATE] == WORSE
    assert score.against_good[BLURRED] == BETTER
    offset = found["offset"]  # late and early are equally far from the ideal
    assert (offset.against_truth[LATE], offset.against_truth[EARLY]) == (WORSE, WORSE)
    assert offset.against_truth[RANDOM_AUDIO] == UNKNOWN
    assert found["error"].statement() == UNKNOWN
    assert found["whole"].is_set


def test_a_quantity_that_orders_all_is_stated(rows: Mapping[str, Mapping[str, Mapping[str, float]]]):
    every = {"ground_truth": rows["ground_truth"]} | {row: scores(0.2, seed=5) for row in DAMAGES}
    (score,) = [one for one in orders(made_results(every), "cross_audio") if one.quantity == "score"]
    assert score.statement() == "orders all"
    text = sanity_markdown(made_results(every), "cross_audio")
    (line,) = [line for line in text.splitlines() if line.startswith("| score ↑ |") and "orders all" in line]
    assert line.count("✓") == len(DAMAGES)


def test_sound_is_shifted_by_whole_frames_and_keeps_its_length(tmp_path: Path):
    sound = np.linspace(-0.9, 0.9, 16000).astype(np.float32)
    write_wav(tmp_path / "a.wav", sound)
    with open_clips(tmp_path / "cache") as clips:
        late = read_wav(shifted_audio(tmp_path / "a.wav", 5, clips, tmp_path))
        early = read_wav(shifted_audio(tmp_path / "a.wav", -5, clips, tmp_path))
    shift = 5 * 640  # 5 frames of 40 ms
    assert len(late) == len(early) == len(sound)
    assert not late[:shift].any()
    assert not early[-shift:].any()
    np.testing.assert_allclose(late[shift:], sound[:-shift], atol=1e-4)
    np.testing.assert_allclose(early[:-shift], sound[shift:], atol=1e-4)


def test_blur_takes_edges_and_keeps_the_mean():
    frame = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    frame[:, SIZE // 2 :] = 200
    (soft,) = blurred(iter([frame]))
    assert abs(int(soft.mean()) - int(frame.mean())) <= 1
    assert np.abs(np.diff(soft[10, :, 0].astype(int))).max() < 150


def test_a_frozen_mouth_rests_while_the_rest_goes_on(tmp_path: Path):
    source = grey_video(tmp_path / "source.mp4", 90, num_frames=6)
    frames = [np.full((SIZE, SIZE, 3), level, dtype=np.uint8) for level in (50, 80, 120, 160, 200, 240)]
    pair = Pair("a", source, source, tmp_path / "a.wav", source)
    with open_clips(tmp_path / "cache") as clips:
        rested = np.stack(list(frozen(pair, clips, iter(frames)))).astype(int)
    mouth, corner = rested[:, 44:48, 30:34].mean(axis=(1, 2, 3)), rested[:, 0, 0, 0]
    assert np.ptp(mouth) <= 3
    assert corner.tolist() == [50, 80, 120, 160, 200, 240]


def test_every_ground_truth_gets_every_damage(tmp_path: Path):
    truths = []
    for number, level in enumerate((60, 160)):
        video = grey_video(tmp_path / f"{number}.mp4", level)
        audio = hum(tmp_path / f"{number}.wav", 200.0 + 100 * number)
        truths.append(Pair(f"v{number}", video, video, audio, video, row="ground_truth"))
    others = [Pair("v0", truths[0].result, truths[0].source, truths[0].audio, row="source")]
    with open_clips(tmp_path / "cache") as clips:
        arguments = ([*truths, *others], "reconstruction", clips, tmp_path / "damaged", 0)
        made = sanity_pairs(*arguments)
        stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "damaged").iterdir()}
        assert sanity_pairs(*arguments) == made
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "damaged").iterdir()} == stamps
        with pytest.raises(InputError, match="two are needed"):
            sanity_pairs(truths[:1], "reconstruction", clips, tmp_path / "damaged", 0)
    by_row = {row: [pair for pair in made if pair.row == row] for row in ("ground_truth", *DAMAGES)}
    assert {row: len(pairs) for row, pairs in by_row.items()} == dict.fromkeys(by_row, 2)
    assert by_row[RANDOM_AUDIO][0].audio == truths[1].audio
    assert by_row[LATE][0].result == truths[0].result
    assert by_row[FROZEN][0].audio == truths[0].audio
    assert all(pair.result.is_file() and pair.audio.is_file() for pair in made)
