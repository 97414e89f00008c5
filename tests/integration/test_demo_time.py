"""benchmarks/demo_time.py at tiny sizes."""

import pytest

from benchmarks import demo_time
from benchmarks.random_weights import write_config, write_weights
from benchmarks.weight_sizes import TINY
from latentsync.media.transcode import cut_audio
from latentsync.weights import UNET
from scripts import inference

STAGES = ["start-up", "faces", "read", "align", "VAE encode", "audio", "U-Net", "VAE decode", "colour match", "paste"]


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("weights")
    write_weights(folder, TINY)
    cut_audio(inference.DEMO_AUDIO, folder / "speech.wav", 3 / 25)
    config = write_config(folder, 256, TINY)
    weights = ["--unet_config_path", str(config), "--inference_ckpt_path", str(folder / UNET)]
    return [*weights, "--audio_path", str(folder / "speech.wav"), "--inference_steps", "1", "--device", "cpu"]


def test_the_stages_sum_up_to_the_whole(given, capsys):
    assert demo_time.main(given) == 0
    table, _, summary = capsys.readouterr().out.partition("\n\n")
    assert "cores were busy" in summary
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    names, processor_s = [row[0] for row in rows[2:]], [float(row[1]) for row in rows[2:]]
    assert names[-3:] == ["write", "rest", "whole"]
    assert sorted(names[:-3]) == sorted(STAGES)
    assert sum(processor_s[:-1]) == pytest.approx(processor_s[-1], rel=0.02)


def test_a_missing_video_is_one_line(given, tmp_path, capsys):
    assert demo_time.main([*given, "--video_path", str(tmp_path / "no.mp4")]) == 2
    assert "no.mp4" in capsys.readouterr().err
