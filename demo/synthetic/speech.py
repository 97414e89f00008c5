"""Speech for synthetic clips, spoken by espeak-ng in many voices (a tool for making data only)."""

from __future__ import annotations

import io
import shutil
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from demo.synthetic.drawing import Floats
from demo.synthetic.sentences import random_phrase
from latentsync.errors import ToolError

SAMPLE_RATE = 16000
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
MALE_VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "klatt2", "Andy", "adam", "Alex", "Denis", "Michael")
FEMALE_VARIANTS = ("f1", "f2", "f3", "f4", "f5", "Annie", "linda", "steph", "anika", "belinda")
REMEDY = "install it, for example: apt-get install espeak-ng"


@dataclass(frozen=True)
class Voice:
    """An espeak-ng voice: accent and variant, pitch 0..99, speed in words a minute."""

    accent: str
    variant: str
    pitch: int
    speed_wpm: int

    @staticmethod
    def random(rng: np.random.Generator, feminine: bool) -> Voice:
        """Draw a voice."""
        variants = FEMALE_VARIANTS if feminine else MALE_VARIANTS
        return Voice(
            accent=ACCENTS[rng.integers(len(ACCENTS))],
            variant=variants[rng.integers(len(variants))],
            pitch=int(rng.integers(30, 75)),
            speed_wpm=int(rng.integers(120, 200)),
        )


@dataclass(frozen=True)
class Speech:
    """Samples (n,) float32 in [-1, 1] at 16 kHz with the words and the voice that spoke them."""

    samples: Floats
    text: str
    voice: Voice


def has_espeak() -> bool:
    """Whether espeak-ng is installed."""
    return shutil.which("espeak-ng") is not None


def speak(text: str, voice: Voice) -> Floats:
    """Speech samples (n,) in [-1, 1] at 16 kHz. Raises ToolError without a working espeak-ng."""
    tool = shutil.which("espeak-ng")
    if tool is None:
        raise ToolError(f"espeak-ng is needed to make synthetic speech and was not found: {REMEDY}")
    command = [tool, "-v", f"{voice.accent}+{voice.variant}", "-p", str(voice.pitch), "-s", str(voice.speed_wpm)]
    done = subprocess.run([*command, "--stdout", "--", text], capture_output=True, check=False)
    if done.returncode != 0 or len(done.stdout) <= 44:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
        raise ToolError(f"espeak-ng could not speak with voice {voice.accent}+{voice.variant}: {last[0]}")
    with wave.open(io.BytesIO(done.stdout)) as source:
        rate = source.getframerate()
    samples = np.frombuffer(done.stdout[44:], dtype="<i2").astype(np.float32) / 32768.0
    return resample(samples, rate)


def resample(samples: Floats, rate: int) -> Floats:
    """Samples (n,) at `rate` Hz brought to 16 kHz."""
    if rate == SAMPLE_RATE:
        return samples
    divisor = int(np.gcd(rate, SAMPLE_RATE))
    return np.asarray(resample_poly(samples, SAMPLE_RATE // divisor, rate // divisor), dtype=np.float32)


def random_speech(rng: np.random.Generator, duration_s: float, feminine: bool) -> Speech:
    """Sentences with pauses between them, exactly `duration_s` long."""
    voice = Voice.random(rng, feminine)
    wanted = round(duration_s * SAMPLE_RATE)
    pieces, words = [_silence(rng.uniform(0.0, 0.4))], []
    while sum(map(len, pieces)) < wanted:
        phrase = random_phrase(rng)
        pieces += [_trimmed(speak(phrase, voice)), _silence(rng.uniform(0.12, 0.7))]
        words.append(phrase)
    samples = np.concatenate(pieces)[:wanted]
    fade = min(800, len(samples))
    samples[-fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    peak = float(np.abs(samples).max())
    return Speech((samples * (rng.uniform(0.35, 0.9) / max(peak, 1e-3))).astype(np.float32), " ".join(words), voice)


def add_noise(rng: np.random.Generator, samples: Floats, ratio_db: float) -> Floats:
    """Samples with pink-like noise, `ratio_db` below the speech."""
    noise = np.cumsum(rng.standard_normal(len(samples))) * 0.02
    noise = noise - np.convolve(noise, np.ones(400) / 400, mode="same") + rng.standard_normal(len(samples)) * 0.2
    level = np.sqrt(np.mean(samples**2)) * 10.0 ** (-ratio_db / 20.0)
    return np.clip(samples + noise * level / (np.sqrt(np.mean(noise**2)) + 1e-9), -1.0, 1.0).astype(np.float32)


def _silence(seconds: float) -> Floats:
    return np.zeros(round(seconds * SAMPLE_RATE), dtype=np.float32)


def _trimmed(samples: Floats) -> Floats:
    """Without the silence espeak-ng puts at both ends."""
    loud = np.flatnonzero(np.abs(samples) > 0.003)
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples


def write_wav(path: Path, samples: Floats, rate: int = SAMPLE_RATE) -> None:
    """Write mono 16-bit sound; `samples` (n,) in [-1, 1]."""
    with wave.open(str(path), "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(rate)
        target.writeframes((np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())


def read_wav(path: Path) -> Floats:
    """Samples (n,) in [-1, 1] at 16 kHz of a 16-bit wav file; the mean of its channels."""
    with wave.open(str(path), "rb") as source:
        rate, channels = source.getframerate(), source.getnchannels()
        data = np.frombuffer(source.readframes(source.getnframes()), dtype="<i2")
    mono = data.reshape(-1, channels).mean(axis=1).astype(np.float32) / 32768.0
    return resample(mono, rate)
