"""Speech of synthetic clips: random sentences, spoken by espeak-ng in many voices.

espeak-ng is needed to create data only.
"""

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
from latentsync.errors import InputError, ToolError
from latentsync.media.ffmpeg_tools import media_input
from latentsync.media.transcode import write_media
from latentsync.storage.atomic import atomic_write
from latentsync.storage.temporary_files import temporary_folder

SUBJECTS = (
    "my brother", "the old captain", "every child", "our neighbour", "a quiet woman", "the whole village",
    "nobody here", "the young doctor", "your friend", "the blue ship", "a good teacher", "the morning train",
    "this machine", "the river", "everyone", "the baker", "a famous painter", "the tall engineer", "we", "they",
    "she", "he", "I", "you", "the children", "the people of this town", "my favourite aunt", "the judge",
    "a small group of tourists", "the music",
)  # fmt: skip
VERBS = (
    "could open", "would always remember", "might follow", "never found", "really enjoyed", "should measure",
    "will choose", "had already painted", "wanted to move", "was looking for", "used to visit", "thought about",
    "can usually hear", "just bought", "gave away", "began to answer", "forgot", "would rather keep",
    "hoped to join", "is going to build", "may have broken", "shouted about", "laughed at", "pushed over",
    "whispered about", "threw away", "borrowed",
)  # fmt: skip
OBJECTS = (
    "the big wooden door", "five oranges", "a beautiful garden", "the wrong answer", "more than a hundred books",
    "the voice on the radio", "a loaf of warm bread", "the road to the mountains", "that funny hat",
    "a pair of shoes", "the cheese and the milk", "a bottle of water", "the most important question",
    "an enormous elephant", "the yellow house", "some vegetable soup", "a photograph of the moon",
    "the first page of the paper", "a very long story", "two cups of tea", "the weather report", "a pile of papers",
    "the usual joke", "an apple pie", "the church bell", "a job in the city", "the mouth of the river",
    "the new film", "a piece of chalk", "my father's watch", "the vision of a better world",
)  # fmt: skip
ENDINGS = (
    "before breakfast", "in the middle of the night", "after the show", "without any help", "on the way home",
    "last Wednesday", "at half past four", "near the harbour", "for a good reason", "all summer long",
    "with both hands", "because of the rain", "while the others were asleep", "under the bridge",
    "once upon a time", "from the top of the hill", "as soon as possible", "in front of the window",
    "above the shop", "this afternoon", "and nobody knew why", "even though it was cold", "",
)  # fmt: skip
OPENERS = (
    "Well", "However", "Of course", "By the way", "Perhaps", "As you know", "To be honest", "Suddenly", "Oh", "Yes",
    "No", "In those days", "Believe me", "Thank you", "Good morning", "Look", "Now", "Wow", "Hello everybody",
    "Maybe",
)  # fmt: skip
QUESTIONS = (
    "do you know where", "can you tell me how", "who said that", "have you heard that", "why do you believe that",
    "is it true that", "what would happen if", "did you notice when",
)  # fmt: skip


def random_phrase(rng: np.random.Generator) -> str:
    """Return a random sentence or a short exclamation."""
    kind = rng.random()
    opener = OPENERS[rng.integers(len(OPENERS))]
    if kind < 0.08:
        return f"{opener}!"
    subject, verb = SUBJECTS[rng.integers(len(SUBJECTS))], VERBS[rng.integers(len(VERBS))]
    thing, ending = OBJECTS[rng.integers(len(OBJECTS))], ENDINGS[rng.integers(len(ENDINGS))]
    clause = f"{subject} {verb} {thing} {ending}".strip()
    if kind < 0.25:
        return f"{QUESTIONS[rng.integers(len(QUESTIONS))]} {clause}?"
    if kind < 0.45:
        return f"{opener}, {clause}."
    if kind < 0.55:
        return f"{', '.join(str(v) for v in rng.integers(1, 100, 3))}, and {clause}."
    return f"{clause}."


SAMPLE_RATE = 16000
ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-029")
MALE_VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "klatt2", "Andy", "adam", "Alex", "Denis", "Michael")
FEMALE_VARIANTS = ("f1", "f2", "f3", "f4", "f5", "Annie", "linda", "steph", "anika", "belinda")
_REMEDY = "install it, for example: apt-get install espeak-ng"


@dataclass(frozen=True)
class Voice:
    """espeak-ng voice: accent and variant, pitch in 0..99, speed in words per minute."""

    accent: str
    variant: str
    pitch: int
    speed_wpm: int

    @staticmethod
    def random(rng: np.random.Generator, feminine: bool) -> Voice:
        """Return a random voice."""
        variants = FEMALE_VARIANTS if feminine else MALE_VARIANTS
        return Voice(
            accent=ACCENTS[rng.integers(len(ACCENTS))],
            variant=variants[rng.integers(len(variants))],
            pitch=int(rng.integers(30, 75)),
            speed_wpm=int(rng.integers(120, 200)),
        )


@dataclass(frozen=True)
class Speech:
    """Samples (n,) float32 in [-1, 1] at 16 kHz, with their text and voice."""

    samples: Floats
    text: str
    voice: Voice


def speak(text: str, voice: Voice) -> Floats:
    """Synthesize speech: samples (n,) in [-1, 1] at 16 kHz. Raises ToolError if espeak-ng is missing or fails."""
    tool = shutil.which("espeak-ng")
    if tool is None:
        raise ToolError(f"espeak-ng is needed for synthetic speech and was not found: {_REMEDY}")
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
    """Resample (n,) samples at `rate` Hz to 16 kHz."""
    if rate == SAMPLE_RATE:
        return samples
    divisor = int(np.gcd(rate, SAMPLE_RATE))
    return np.asarray(resample_poly(samples, SAMPLE_RATE // divisor, rate // divisor), dtype=np.float32)


def random_speech(rng: np.random.Generator, duration_s: float, feminine: bool) -> Speech:
    """Return random sentences with pauses between them, exactly `duration_s` long."""
    voice = Voice.random(rng, feminine)
    num_samples = round(duration_s * SAMPLE_RATE)
    pieces, words = [_silence(rng.uniform(0.0, 0.4))], []
    while sum(map(len, pieces)) < num_samples:
        phrase = random_phrase(rng)
        pieces += [trim(speak(phrase, voice)), _silence(rng.uniform(0.12, 0.7))]
        words.append(phrase)
    samples = np.concatenate(pieces)[:num_samples]
    fade = min(800, len(samples))
    samples[-fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    peak = float(np.abs(samples).max())
    return Speech((samples * (rng.uniform(0.35, 0.9) / max(peak, 1e-3))).astype(np.float32), " ".join(words), voice)


def add_noise(rng: np.random.Generator, samples: Floats, ratio_db: float) -> Floats:
    """Add approximately pink noise at `ratio_db` below the speech."""
    noise = np.cumsum(rng.standard_normal(len(samples))) * 0.02
    noise = noise - np.convolve(noise, np.ones(400) / 400, mode="same") + rng.standard_normal(len(samples)) * 0.2
    level = np.sqrt(np.mean(samples**2)) * 10.0 ** (-ratio_db / 20.0)
    return np.clip(samples + noise * level / (np.sqrt(np.mean(noise**2)) + 1e-9), -1.0, 1.0).astype(np.float32)


def _silence(seconds: float) -> Floats:
    return np.zeros(round(seconds * SAMPLE_RATE), dtype=np.float32)


def trim(samples: Floats) -> Floats:
    """Remove the silence at both ends of espeak-ng's output."""
    loud = np.flatnonzero(np.abs(samples) > 0.003)
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples


def write_wav(path: Path, samples: Floats, rate: int = SAMPLE_RATE) -> None:
    """Write samples (n,) in [-1, 1] as a mono 16-bit wav file."""
    with wave.open(str(path), "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(rate)
        target.writeframes((np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())


def read_wav(path: Path) -> Floats:
    """Read a 16-bit wav file as mono samples (n,) in [-1, 1] at 16 kHz."""
    with wave.open(str(path), "rb") as source:
        rate, channels = source.getframerate(), source.getnchannels()
        data = np.frombuffer(source.readframes(source.getnframes()), dtype="<i2")
    mono = data.reshape(-1, channels).mean(axis=1).astype(np.float32) / 32768.0
    return resample(mono, rate)


def write_voices(folder: Path, num_voices: int, duration_s: float, seed: int) -> None:
    """Write `voice_1.ogg` and so on: random sentences of alternately male and female voices, as Opus at 16 kbit/s.

    Raises:
        InputError: one of the files exists.
        ToolError: espeak-ng or ffmpeg is missing or fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"voice_{number}.ogg" for number in range(1, num_voices + 1)]
    if existing := [path for path in paths if path.exists()]:
        raise InputError(f"{existing[0]} exists: move it away, or name another --out")
    for number, path in enumerate(paths, start=1):
        speech = random_speech(np.random.default_rng([seed, number]), duration_s, feminine=number % 2 == 0)
        with temporary_folder() as temporary, atomic_write(path) as beside:
            write_wav(temporary / "speech.wav", speech.samples)
            streams = [media_input(temporary / "speech.wav")["a:0"]]
            write_media(streams, beside, acodec="libopus", audio_bitrate="16k", fflags="+bitexact")
