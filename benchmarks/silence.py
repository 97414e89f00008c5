"""Measure `--silence`: what it leaves of speech, and how little music and breath move the mouth.

    python -m benchmarks.silence [--people 6] [--seconds 6] [--seed 717] [--clean_speech]

Synthetic people, filmed while they say something else, are generated with three kinds of sound: speech with pauses,
music only (chords with vibrato) and breath only (bursts of band-limited noise).

* speech: correlation of the opening in the generated crops, as predicted by the demo's mouth reader, with that of the
  same person rendered with this speech; over the frames with speech.
* pauses, music, breath: mean change of the mouth region per frame, over that of the same person rendered with a closed
  mouth; and the mean opening. "listening" is sound of both kinds with footage in which the mouth is closed.
"""

import argparse
import sys
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.signal import butter, sosfilt

from benchmarks.measurement import markdown_table
from demo.synthetic.clip import FPS, TalkingClip
from demo.synthetic.speech import SAMPLE_RATE, random_speech
from latentsync.adaptation.mouth_check import Crops, sampling_options
from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.speech_activity import find_speech
from latentsync.audio.speech_only import SpeechEdges
from latentsync.audio.whisper_model import load_whisper_encoder
from latentsync.cli import OneLineParser, run_command
from latentsync.config import load_config
from latentsync.judges.crop_measures import correlation, mouth_differences
from latentsync.judges.mouth_reader import load_mouth_reader, read_mouth
from latentsync.models.checkpoint import load_unet
from latentsync.models.vae import load_vae
from latentsync.pipelines.crop_dubber import CropDubber
from latentsync.pipelines.options import SILENCE
from latentsync.pipelines.synthesis import WindowSynthesizer
from latentsync.pipelines.voice_features import speech_edges, voice_features
from latentsync.recipes.lipsync import SECTIONS
from latentsync.recipes.unet_run import UNetRun
from latentsync.weights import CHECKPOINTS, DEMO_UNET, DEMO_UNET_CONFIG, REPOSITORY_ROOT, find_vae, locate

SOUNDS = ("music", "breath")
SETTLED_FRAMES = 7
"""Frames skipped at both ends of a pause: hangover and fade take six."""
_CHORD_S = 1.0
_BREATH_BAND_HZ = (400, 3500)
_DEVICE = torch.device("cpu")

Floats = NDArray[np.float32]
Values = dict[str, float]


class Dubber:
    """The demo networks as inference uses them, for crops in memory."""

    def __init__(self) -> None:
        run = load_config(REPOSITORY_ROOT / DEMO_UNET_CONFIG, UNetRun, sections=SECTIONS)
        self.resolution, self._data, self._options = run.data.resolution, run.data, sampling_options(run)
        self._encoder = load_whisper_encoder(locate(run.audio.whisper), _DEVICE, torch.float32)
        unet = load_unet(run.model, CHECKPOINTS / DEMO_UNET, _DEVICE, torch.float32, run.data.resolution)
        codec = load_vae(find_vae(run.vae), _DEVICE, torch.float32)
        self._synthesizer = WindowSynthesizer(unet.requires_grad_(False), codec, run.data.resolution)
        self._reader = load_mouth_reader(CHECKPOINTS / "demo" / "mouth_reader.pt")
        self._made: dict[object, Crops] = {}

    def __call__(self, crops: Crops, sound: Floats, silence: str) -> Crops:
        """Return the crops generated with a sound."""
        options, samples = replace(self._options, silence=silence), ArraySamples(sound)
        speech = None if silence == "off" else find_speech(samples)
        rows = voice_features(self._encoder, samples, speech, options, samples.num_samples)
        edges = speech_edges(samples, speech, options, samples.num_samples)
        is_silent = None if edges is None else lambda frame: not edges.is_speech(frame / FPS)
        # sounds without any speech give equal results
        key = (crops.tobytes(), sound.tobytes() if speech != [] else b"", silence)
        if key not in self._made:
            dub = CropDubber(self._synthesizer, self._data.num_frames, self._data.video_fps, options)
            self._made[key] = dub(crops, rows, is_silent=is_silent)
        return self._made[key]

    def opening(self, crops: Crops) -> Floats:
        """Return the opening of the mouth (f,)."""
        return read_mouth(self._reader, crops)[:, 0]


def chords(rng: np.random.Generator, num_samples: int) -> Floats:
    """Return decaying chords of four notes with six harmonics each, and a vibrato of 5.5 Hz."""
    length = round(_CHORD_S * SAMPLE_RATE)
    time_s = np.arange(length) / SAMPLE_RATE
    result = np.zeros(-(-num_samples // length) * length)
    for start in range(0, len(result), length):
        root = 110 * 2 ** (rng.integers(12) / 12)
        for note in (1.0, 1.26, 1.5, 2.0):
            for harmonic in range(1, 7):
                phase = harmonic * (2 * np.pi * root * note * time_s + 0.9 * np.sin(2 * np.pi * 5.5 * time_s))
                result[start : start + length] += np.sin(phase) * np.exp(-time_s) / harmonic**1.3
    return (0.6 * result[:num_samples] / np.abs(result).max()).astype(np.float32)


def breath(rng: np.random.Generator, num_samples: int) -> Floats:
    """Return bursts of noise of 0.3 to 0.9 s, with pauses between them."""
    noise = sosfilt(butter(4, _BREATH_BAND_HZ, "band", fs=SAMPLE_RATE, output="sos"), rng.standard_normal(num_samples))
    level, position = np.zeros(num_samples), 0
    while position < num_samples:
        burst = np.hanning(round(rng.uniform(0.3, 0.9) * SAMPLE_RATE))[: num_samples - position]
        level[position : position + len(burst)] = burst
        position += len(burst) + round(rng.uniform(0.3, 1.2) * SAMPLE_RATE)
    result = np.asarray(noise) * level
    return (0.3 * result / np.abs(result).max()).astype(np.float32)


def paused_speech(rng: np.random.Generator, num_samples: int, feminine: bool) -> tuple[Floats, Floats]:
    """Return speech whose middle third is silent, and the same with breath there."""
    speech = random_speech(rng, num_samples / SAMPLE_RATE, feminine).samples.copy()
    pause = slice(num_samples // 3, 2 * num_samples // 3)
    speech[pause] = 0
    breathing = speech.copy()
    breathing[pause] = breath(rng, pause.stop - pause.start)
    return speech, breathing


def render(dubber: Dubber, index: int, seed: int, sound: Floats) -> Crops:
    """Return the crops of a person who says what a sound contains."""
    return np.stack(list(TalkingClip(seed, index, 0, sound).crops(dubber.resolution)))


def motion(crops: Crops, chosen: NDArray[np.bool_]) -> float:
    """Return the mean change of the mouth region per frame, in grey levels, where this and the last frame count."""
    return float(mouth_differences(crops, order=1).mean(axis=(1, 2, 3))[chosen[1:] & chosen[:-1]].mean())


def measure_person(
    dubber: Dubber, index: int, seconds: float, seed: int, clean_speech: bool = False
) -> dict[str, Values]:
    """Return the values of one person by mode of `--silence`; `truth` has those of the rendered person."""
    rng, num_samples = np.random.default_rng([seed, index, 11]), round(seconds * SAMPLE_RATE)
    footage_clip = TalkingClip(seed, index, seconds)
    footage = np.stack(list(footage_clip.crops(dubber.resolution)))
    closed = render(dubber, index, seed, np.zeros(num_samples, np.float32))
    speech, breathing = paused_speech(rng, num_samples, footage_clip.person.feminine)
    spoken = render(dubber, index, seed, speech)
    sounds = {} if clean_speech else {"music": chords(rng, num_samples), "breath": breath(rng, num_samples)}
    everything = np.ones(len(footage), dtype=bool)
    speaks, pause = speech_frames(speech, len(footage))
    rest = {name: motion(closed, frames) for name, frames in (("all", everything), ("pause", pause))}
    truth = dubber.opening(spoken)
    values = {"truth": {f"motion, {name}": 1.0 for name in ("pauses", *SOUNDS, "listening")}}
    values["truth"] |= {"opening, speech": 1.0}
    values["truth"] |= {f"open, {name}": float(dubber.opening(closed).mean()) for name in SOUNDS}
    for silence in SILENCE:
        generated = dubber(footage, speech if clean_speech else breathing, silence)
        row = {"opening, speech": correlation(dubber.opening(generated)[speaks], truth[speaks])}
        row["motion, pauses"] = motion(generated, pause) / rest["pause"]
        for name, sound in sounds.items():
            generated = dubber(footage, sound, silence)
            row[f"motion, {name}"] = motion(generated, everything) / rest["all"]
            row[f"open, {name}"] = float(dubber.opening(generated).mean())
        if sounds:
            generated = dubber(closed, sounds["music"] + sounds["breath"], silence)
            row["motion, listening"] = motion(generated, everything) / rest["all"]
        values[silence] = row
    return values


def speech_frames(speech: Floats, num_frames: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the frames in which a person speaks, and those of settled silence."""
    intervals = SpeechEdges(find_speech(ArraySamples(speech)), len(speech))
    speaks = np.array([intervals.is_speech(frame / FPS) for frame in range(num_frames)])
    settled = binary_erosion(~speaks, np.ones(2 * SETTLED_FRAMES + 1), border_value=1)
    return speaks, np.asarray(settled, dtype=np.bool_)


def measure(options: argparse.Namespace) -> int:
    """Measure all people and print the means."""
    torch.set_num_threads(options.threads)
    dubber = Dubber()
    settings = (options.seconds, options.seed, options.clean_speech)
    people = [measure_person(dubber, index, *settings) for index in range(options.people)]
    columns = list(people[0]["off"])
    rows = []
    for mode in ("truth", *SILENCE):
        values = {name: [person[mode][name] for person in people] for name in columns}
        cells = {name: f"{np.mean(each):.3f}" for name, each in values.items()}
        cells |= {name: f"{cells[name]} ({max(values[name]):.2f})" for name in columns if name.startswith("motion")}
        rows.append({"--silence": mode, **cells})
    print(markdown_table(["--silence", *columns], rows))
    off = np.array([person["off"]["opening, speech"] for person in people])
    for mode in SILENCE[1:]:
        change = np.array([person[mode]["opening, speech"] for person in people]) - off
        largest = np.abs(change).max()
        print(f"opening correlation in speech, {mode} - off: mean {change.mean():+.4f}, largest {largest:.4f}")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 2 if an input is invalid."""
    parser = OneLineParser(prog="python -m benchmarks.silence", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--people", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each clip")
    parser.add_argument("--seed", type=int, default=717)
    parser.add_argument("--clean_speech", action="store_true", help="only speech, with silence in its pause")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    options = parser.parse_args(arguments)
    return run_command(lambda: measure(options))


if __name__ == "__main__":
    sys.exit(main())
