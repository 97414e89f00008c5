"""Items and chunks of the audio encoder's training; its steps lower the loss and its export is in Whisper's format."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from demo.synthetic.clip_set import find_clips
from demo.training.audio_encoder import AUDIO_ENCODER, AudioEncoderRun, track_loss
from demo.training.speech_clips import SpeechChunks, SpeechClips, full_chunks, single_clips
from latentsync.audio.whisper_model import CHUNK_ROWS, load_whisper_encoder
from latentsync.data.batching import ItemKey, collate
from tests.unit.demo.training.small_training import small_run
from tests.unit.eval.demo_weights.clips import NUM_FRAMES


def run_of(clips: Path, run_dir: Path, max_steps: int, **options: object) -> AudioEncoderRun:
    settings = {"log_every": 1, "ema_decay": 0.5, "plain_names": ["head"]}
    return AudioEncoderRun(**small_run(clips, run_dir, max_steps, 4, **settings), num_chunks=1, **options)  # type: ignore[arg-type]


def losses(run_dir: Path) -> list[float]:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [row["loss"] for row in rows if row["split"] == "train"]


def test_an_item_is_a_function_of_its_key(clips):
    speech, fresh = (SpeechClips(find_clips(clips), seed=3) for _ in range(2))
    items = [speech[ItemKey(1, epoch)] for epoch in range(8)]
    assert len({float(item["mel"].double().sum()) for item in items}) > 2  # some of the five variants
    for epoch in reversed(range(8)):
        assert torch.equal(fresh[ItemKey(1, epoch)]["mel"], items[epoch]["mel"])
    item, clip = items[0], find_clips(clips)[1]
    assert item["num_rows"] == 2 * NUM_FRAMES
    assert item["mel"].shape == (80, 2 * item["num_rows"])
    np.testing.assert_array_equal(item["track"], clip.track[::2])


def test_chunks_hold_the_clips_one_after_another(clips):
    speech = SpeechClips(find_clips(clips), seed=0)
    batch = collate([speech[ItemKey(index, 0)] for index in (0, 1, 0, 1)])
    rows = 2 * NUM_FRAMES
    single = single_clips(batch, torch.Generator().manual_seed(1))
    assert rows < single.track.shape[1] < rows + 60
    assert single.known.sum(dim=(1, 2)).tolist() == [rows] * 4
    assert single.mel[:, :, 2 * rows :].abs().max() == 0
    full = full_chunks(batch, 3, torch.Generator().manual_seed(1))
    assert full.mel.shape == (3, 80, 2 * CHUNK_ROWS)
    counts = [int(known.sum()) // rows for known in full.known]
    first = sum(counts[:1])  # the second chunk continues with the next clip
    torch.testing.assert_close(full.track[1, :rows], batch["track"][first % 4])
    torch.testing.assert_close(full.mel[1, :, : 2 * rows], batch["mel"][first % 4])
    assert all(full.mel[chunk, :, 2 * rows * count :].abs().max() == 0 for chunk, count in enumerate(counts))
    assert len(set(counts)) > 1


def test_what_comes_after_the_clips_does_not_count():
    track = torch.rand(2, 9, 2)
    known = (torch.arange(9) < 5)[None, :, None].float().expand(2, -1, -1)
    chunks = SpeechChunks(torch.zeros(0), track, known)
    assert track_loss(torch.where(known > 0, track, 7.0), chunks) == 0
    assert track_loss(torch.where(known > 0, track + 0.5, 7.0), chunks) == pytest.approx(10 * 2 * (0.25 + 0.1))


def test_steps_lower_the_loss_and_the_export_loads(clips, tmp_path):
    run = run_of(clips, tmp_path / "run", 10, full_chunks_from=1.0)
    report = AUDIO_ENCODER.build_trainer(run, {"seed": 0}).fit()
    assert set(report.validation) == {"opening_correlation", "width_correlation"}
    values = losses(tmp_path / "run")
    assert min(values[-3:]) < 0.7 * values[0]
    encoder = load_whisper_encoder(tmp_path / "run" / "whisper.pt")
    assert (encoder.width, encoder.num_layers) == (96, 2)
    run = run_of(clips, tmp_path / "more", 1, full_chunks_from=0.0, initial=str(tmp_path / "run" / "whisper.pt"))
    run.training.validate_every = 0
    AUDIO_ENCODER.build_trainer(run, {"seed": 0}).fit()
    more = load_whisper_encoder(tmp_path / "more" / "whisper.pt").state_dict()
    change = [(more[name] - value).abs().max() for name, value in encoder.state_dict().items()]
    assert 0 < max(change) < 0.05
