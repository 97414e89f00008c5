"""The mouth reader learns the rendered mouth, and a resumed training equals an uninterrupted one."""

from pathlib import Path

import numpy as np
import torch

from demo.synthetic.clip_set import find_clips
from demo.training.demo_network import DemoRun
from demo.training.mouth_reader import MOUTH_READER, MouthCrops, degrade
from latentsync.data.batching import ItemKey
from latentsync.judges.mouth_reader import load_mouth_reader, read_mouth
from latentsync.training.trainer import TrainReport
from tests.unit.demo.training.small_training import small_run
from tests.unit.eval.demo_weights.clips import NUM_FRAMES, SIZE


def fit(clips: Path, run_dir: Path, max_steps: int, batch_size: int, validate_every: int = 0) -> TrainReport:
    settings = {"validate_every": validate_every, "ema_decay": 0.9, "plain_names": ["head.3"]}
    run = DemoRun(**small_run(clips, run_dir, max_steps, batch_size, **settings))
    return MOUTH_READER.build_trainer(run, {"seed": 0}).fit()


def test_an_item_is_a_function_of_its_key(clips):
    crops = MouthCrops(find_clips(clips), seed=5)
    first, again, later = (crops[key] for key in (ItemKey(0, 0), ItemKey(0, 0), ItemKey(0, 1)))
    assert np.array_equal(first["crop"], again["crop"])
    assert np.array_equal(first["mouth"], again["mouth"])
    assert not np.array_equal(first["crop"], later["crop"])
    assert first["crop"].shape == (3, SIZE, SIZE)
    assert first["crop"].dtype == np.float32
    assert np.abs(first["crop"]).max() <= 1


def test_degrading_blurs_half_and_adds_a_little_noise():
    edge = np.zeros((3, 32, 32), dtype=np.float32)
    edge[..., 16:] = 0.9
    edge[..., :16] = 0.1
    degraded = [degrade(edge, np.random.default_rng(seed)) for seed in range(40)]
    assert max(np.abs(image - edge)[..., :10].mean() for image in degraded) < 0.04
    is_blurred = [np.diff(image, axis=-1)[..., 15].mean() < 0.7 for image in degraded]
    assert 8 < sum(is_blurred) < 32


def test_it_learns_the_bar(clips, tmp_path):
    report = fit(clips, tmp_path / "run", 30, 12, validate_every=30)
    clip = find_clips(clips)[0]
    read = read_mouth(load_mouth_reader(tmp_path / "run" / "mouth_reader.pt"), clip.crops)
    assert read.shape == (NUM_FRAMES, 2)
    assert np.corrcoef(read[:, 0], clip.frames_track[:, 0])[0, 1] > 0.8
    assert report.validation["opening_worst_clip"] > 0.8


def test_two_steps_are_one_and_one_more(clips, tmp_path):
    for run_dir, stops in (("whole", (2,)), ("pieces", (1, 2))):
        for max_steps in stops:
            fit(clips, tmp_path / run_dir, max_steps, 2)
    whole, pieces = (
        load_mouth_reader(tmp_path / name / "mouth_reader.pt").state_dict() for name in ("whole", "pieces")
    )
    assert all(torch.equal(whole[name], pieces[name]) for name in whole)
