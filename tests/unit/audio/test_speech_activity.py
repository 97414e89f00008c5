"""Speech activity: equal to the package's own network, in bounded memory, and without its side effects."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from latentsync.audio import silero_network
from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.silero_network import SileroNetwork, load_silero_network, silero_weights
from latentsync.audio.speech_activity import (
    HANGOVER_S,
    SpeechInterval,
    find_speech,
    speech_probabilities,
    speech_runs,
    speech_seconds,
    with_hangover,
)
from latentsync.errors import CheckpointError
from latentsync.media.audio_samples import AudioSamples

RATE = 16000
VOICE = Path("assets", "speech", "voice_1.ogg")


@pytest.fixture(scope="module")
def voice(repository: Path) -> NDArray[np.float32]:
    with AudioSamples.decode(repository / VOICE) as samples:
        return samples.read(0, 5 * RATE)


@pytest.fixture(scope="module")
def network() -> SileroNetwork:
    return load_silero_network()


def test_network_equals_that_of_the_package(voice: NDArray[np.float32]) -> None:
    """The package's TorchScript has newer weights; our network with the same weights gives the same probabilities."""
    script = torch.jit.load(str(silero_weights().with_name("silero_vad.jit")), map_location="cpu")
    network = SileroNetwork()
    network.load_state_dict(renamed(script._model.state_dict()))
    ours = speech_probabilities(ArraySamples(voice), network.eval())
    windows = np.pad(voice, (0, -len(voice) % 512)).reshape(-1, 1, 512)
    with torch.no_grad():
        theirs = np.array([script(torch.from_numpy(window), RATE).item() for window in windows])
    assert theirs.min() < 0.1
    assert theirs.max() > 0.9
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def renamed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    parts = {"stft.forward_basis_buffer": "stft_conv.weight", "decoder.decoder.2.": "final_conv."}
    parts |= {f"encoder.{i}.reparam_conv.": f"conv{i + 1}." for i in range(4)}
    result = {}
    for name, tensor in weights.items():
        if name.startswith("decoder.rnn."):
            result[f"lstm.{name.removeprefix('decoder.rnn.')}_l0"] = tensor
        for old, new in parts.items():
            if name.startswith(old):
                result[name.replace(old, new)] = tensor
    return result


def test_blocks_give_the_probabilities_of_one_pass(
    voice: NDArray[np.float32], network: SileroNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = speech_probabilities(ArraySamples(voice), network)
    assert len(whole) == -(-len(voice) // 512)
    reads: list[int] = []

    class Watched(ArraySamples):
        def read(self, start: int, stop: int) -> NDArray[np.float32]:
            reads.append(stop - start)
            return super().read(start, stop)

    monkeypatch.setattr("latentsync.audio.speech_activity._BLOCK_WINDOWS", 7)
    np.testing.assert_allclose(speech_probabilities(Watched(voice), network), whole, rtol=0, atol=1e-6)
    assert max(reads) == 7 * 512 + 64
    assert len(reads) == -(-len(whole) // 7)


def test_speech_between_silences_is_found_with_its_hangover(voice: NDArray[np.float32], network: SileroNetwork) -> None:
    loud = np.flatnonzero(np.abs(voice) > 0.02)
    spoken = voice[loud[0] : loud[0] + 2 * RATE]
    samples = np.concatenate((np.zeros(RATE), spoken, np.zeros(2 * RATE))).astype(np.float32)
    speech = find_speech(ArraySamples(samples), network)
    assert speech[0].start == pytest.approx(RATE - HANGOVER_S * RATE, abs=0.08 * RATE)
    assert speech[-1].stop == pytest.approx(3 * RATE + HANGOVER_S * RATE, abs=0.12 * RATE)
    assert speech_seconds(speech) > 1.8


@pytest.mark.parametrize("kind", ["chords", "breath", "silence"])
def test_no_speech_in_other_sound(kind: str, network: SileroNetwork) -> None:
    time_s = np.arange(4 * RATE) / RATE
    noise = np.random.default_rng(0).standard_normal(len(time_s)) * 0.1
    samples = {
        "chords": sum(0.1 * np.sin(2 * np.pi * f * time_s + np.sin(33 * time_s)) for f in (220, 277, 330, 440, 880)),
        "breath": noise * np.maximum(np.sin(5 * time_s), 0),
        "silence": np.zeros(len(time_s)),
    }[kind]
    assert find_speech(ArraySamples(np.asarray(samples, dtype=np.float32)), network) == []


def test_runs_have_two_thresholds_and_lengths() -> None:
    """Speech starts at 0.5; 0.4 continues it; short pauses (3 windows) do not end it; short speech is dropped."""
    sure, maybe, no = 0.9, 0.4, 0.1
    probabilities = [maybe, *[sure] * 8, maybe, *[no] * 3, *[maybe] * 2, *[no] * 4, *[sure] * 6, *[no] * 9, *[sure] * 9]
    runs = [(run.start // 512, run.stop // 512) for run in speech_runs(probabilities)]
    assert runs == [(1, 15), (34, 43)]


def test_hangover_joins_intervals_that_meet_and_stays_within_the_audio() -> None:
    margin = round(HANGOVER_S * RATE)
    far = 3 * margin
    speech = [SpeechInterval(10, 500), SpeechInterval(500 + 2 * margin, 9000), SpeechInterval(9000 + far, 9500 + far)]
    expected = [SpeechInterval(0, 9000 + margin), SpeechInterval(9000 + far - margin, 9600 + far)]
    assert with_hangover(speech, 9600 + far) == expected


def test_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silero_network, "find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match="pip install 'silero-vad>=6'"):
        load_silero_network()


def test_threads_and_imports_stay_as_they_are(repository: Path) -> None:
    """Importing silero_vad sets torch to one thread, so it is not imported; in a process of its own."""
    code = (
        "import sys, torch; torch.set_num_threads(3); import numpy as np\n"
        "from latentsync.audio.sample_source import ArraySamples\n"
        "from latentsync.audio.speech_activity import find_speech\n"
        "find_speech(ArraySamples(np.zeros(16000, np.float32)))\n"
        "heavy = [name for name in ('silero_vad', 'torchaudio', 'onnxruntime') if name in sys.modules]\n"
        "print(torch.get_num_threads(), heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("3 []\n", "")
