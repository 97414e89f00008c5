"""Raw videos for the data pipeline: people talking, and files with planted faults whose verdicts are known.

Every file with a fault is made of the first two good ones by ffmpeg, so only the good ones cost rendering. Beside them
lies `expected.json`: `{"settings": {...}, "files": {name: {"fault": ..., "ends": [{"step", "reason", "num_clips"}]}}}`,
where an end is the last step that clips of the file reach and the reason they are rejected for, or `kept` after step 8.
A file that was shifted also has `shift_frames`: by how many frames its sound comes late.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from demo.synthetic.clip import TalkingClip
from demo.synthetic.drawing import Bytes
from demo.synthetic.motion import FPS
from demo.synthetic.renderer import Renderer
from demo.synthetic.speech import write_wav
from latentsync.errors import InputError
from latentsync.media.ffmpeg import file_url
from latentsync.media.writer import VideoWriter
from latentsync.media.written_file import write_file
from latentsync.storage.atomic import atomic_write
from latentsync.storage.owned_folder import claim_folder, locked
from latentsync.storage.temporary_files import temporary_folder

logger = logging.getLogger(__name__)

PROGRAM = "raw videos"
EXPECTED = "expected.json"
_SETTINGS = ".settings.json"
"""The settings while the files are made."""
_REMEDY = "name another folder with --out"
KEPT = "kept"
LAST_STEP = 8

_EYE_DISTANCE = 0.66
"""Of the resolution: a detector's box is about twice as wide, which leaves a third to spare."""
_LEAST_SIZE = 2.5
"""Of the resolution: in a smaller picture a crop of the face reaches outside."""
_SUPERSAMPLE = 1.5
_CRF = 12
_SHORT_SHOT_S = 2.0
_GREY = "0x707070"
_UPRIGHT = bytes.fromhex("00010000 00000000 00000000 00000000 00010000 00000000 00000000 00000000 40000000")
_TURNED = bytes.fromhex("00000000 00010000 00000000 ffff0000 00000000 00000000 00000000 00000000 40000000")
"""The matrix of an mp4's track: as it is, and to be turned clockwise by the player."""


@dataclass(frozen=True)
class RawConfig:
    """What to make.

    Attributes:
        num_good: talking people without a fault, 2 at least.
        size: side of the square pictures in pixels; faces are a third larger than `resolution` whatever it is.
        seconds: length of the good ones; the pipeline's segments have 5 s at least.
        seed: person k is a pure function of (seed, k).
        resolution: the pipeline's, so that faces are large enough for it.
    """

    num_good: int = 4
    size: int = 640
    seconds: float = 6.0
    seed: int = 0
    resolution: int = 256

    def __post_init__(self) -> None:
        if self.num_good < 2:
            raise InputError(f"--num_good {self.num_good}: at least 2 are needed, the faults are made of them")
        least = 2 * round(_LEAST_SIZE * self.resolution / 2)
        if self.resolution < 16 or self.size < least or self.size % 2:
            raise InputError(f"--size {self.size}: for --resolution {self.resolution} choose an even one from {least}")


@dataclass(frozen=True)
class Fault:
    """A file to make of two good ones.

    Attributes:
        make: (first person, second person, target, config) writes the file.
        ends: (last step, reason, number of clips) of what becomes of it.
        shift_frames: by how many frames its sound comes late.
        suffix: of its name.
    """

    make: Callable[[Path, Path, Path, RawConfig], None]
    ends: tuple[tuple[int, str, int], ...]
    shift_frames: int = 0
    suffix: str = ".mp4"


def make_raw_videos(folder: Path, config: RawConfig) -> list[Path]:
    """Make the files that are not there yet, each whole or not at all, and `expected.json` last; returns all.

    Raises:
        InputError: the folder holds raw videos of other settings or other files, or another run uses it.
        ToolError: ffmpeg or espeak-ng is missing or failed.
    """
    claim_folder(folder, PROGRAM, _REMEDY, _is_of_older_version)
    with locked(folder, f"wait for it, or {_REMEDY}"):
        return _make_missing(folder, config)


def _make_missing(folder: Path, config: RawConfig) -> list[Path]:
    expected = {"settings": asdict(config), "files": _expected(config)}
    plan, settings = folder / EXPECTED, folder / _SETTINGS
    for old in (plan, settings):
        if old.exists() and _settings_in(old) != expected["settings"]:
            raise InputError(f"{folder} holds raw videos of other settings: {_REMEDY}")
    with atomic_write(settings) as beside:
        beside.write_text(json.dumps({"settings": expected["settings"]}))
    good = [folder / f"good_{index:03d}.mp4" for index in range(config.num_good)]
    for index, path in enumerate(good):
        if not path.exists():
            logger.info("%s", path)
            _write_person(path, index, config)
    for name, fault in FAULTS.items():
        path = folder / f"{name}{fault.suffix}"
        if not path.exists():
            logger.info("%s", path)
            with atomic_write(path) as beside:
                fault.make(good[0], good[1], beside, config)
    with atomic_write(plan) as beside:
        beside.write_text(json.dumps(expected, indent=1) + "\n")
    settings.unlink()
    return [folder / name for name in expected["files"]]


def _is_of_older_version(folder: Path) -> bool:
    return any(_settings_in(folder / name) is not None for name in (EXPECTED, _SETTINGS))


def _settings_in(path: Path) -> object:
    """The settings that a file of ours names; None where it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get("settings") if isinstance(content, dict) else None


def _expected(config: RawConfig) -> dict[str, dict[str, object]]:
    good = {f"good_{index:03d}.mp4": {"fault": "none", "ends": _ends((_KEPT,))} for index in range(config.num_good)}
    bad: dict[str, dict[str, object]] = {}
    for name, fault in FAULTS.items():
        bad[name + fault.suffix] = {"fault": name, "ends": _ends(fault.ends)}
        if fault.shift_frames:
            bad[name + fault.suffix]["shift_frames"] = fault.shift_frames
    return {**good, **bad}


def _ends(ends: tuple[tuple[int, str, int], ...]) -> list[dict[str, object]]:
    return [{"step": step, "reason": reason, "num_clips": count} for step, reason, count in ends]


def close_up(clip: TalkingClip, size: int, eye_distance: float) -> Iterator[Bytes]:
    """Frames (size, size, 3) uint8 RGB of a clip in which the eyes are `eye_distance` pixels apart."""
    framing = clip.framing
    zoom = eye_distance / framing.eye_distance
    camera = np.array([[zoom, 0, size / 2 - zoom * framing.x], [0, zoom, 0.42 * size - zoom * framing.y]], np.float32)
    renderer = Renderer(clip.person, clip.scene, density=_SUPERSAMPLE * eye_distance)
    for state in clip.states:
        yield renderer.render(state, camera, (size, size), (clip.frame_size, clip.frame_size), _SUPERSAMPLE)


def _write_person(path: Path, index: int, config: RawConfig) -> None:
    clip = TalkingClip(config.seed, index, config.seconds)
    with temporary_folder(path.parent, _REMEDY) as work:
        speech = work / "speech.wav"
        write_wav(speech, clip.samples)
        with VideoWriter(path, config.size, config.size, FPS, _CRF, speech) as video:
            for frame in close_up(clip, config.size, _EYE_DISTANCE * config.resolution):
                video.write(frame)


def _convert(inputs: list[str], options: list[str], target: Path) -> None:
    """Encode; `options` name filters, streams and what differs from H.264 and AAC. One thread makes it repeatable."""
    encode = ["-c:v", "libx264", "-crf", str(_CRF), "-preset", "veryfast", "-pix_fmt", "yuv420p", "-threads", "1"]
    sound = ["-c:a", "aac", "-b:a", "96k", "-movflags", "+faststart", "-fflags", "+bitexact"]
    write_file(["ffmpeg", "-nostdin", "-v", "error", "-y", *inputs, *encode, *sound, *options, file_url(target)])


def _of_picture(*options: str) -> Callable[[Path, Path, Path, RawConfig], None]:
    """The first person with other video options; the sound stays."""

    def make(first: Path, second: Path, target: Path, config: RawConfig) -> None:
        filled = [option.format(size=config.size, half=config.seconds / 2, blur=config.size / 32) for option in options]
        _convert(["-i", file_url(first)], ["-c:a", "copy", *filled], target)

    return make


def _of_sound(*options: str) -> Callable[[Path, Path, Path, RawConfig], None]:
    """The first person with another sound; the picture stays."""

    def make(first: Path, second: Path, target: Path, config: RawConfig) -> None:
        filled = [option.format(seconds=config.seconds) for option in options]
        _convert(["-i", file_url(first)], ["-c:v", "copy", *filled], target)

    return make


def _shifted(num_frames: int) -> Fault:
    """Sound that comes so many frames late (early where negative); silence at the end that lacks it."""
    seconds = num_frames / FPS
    move = f"adelay={round(seconds * 1000)}" if num_frames > 0 else f"atrim=start={-seconds},asetpts=PTS-STARTPTS"
    ends = _KEPT if abs(num_frames) <= 6 else (7, "offset_too_large", 1)
    whole = ",apad=whole_dur={seconds},atrim=end={seconds}"
    return Fault(_of_sound("-af", move + whole), (ends,), shift_frames=num_frames)


def _truncated(first: Path, second: Path, target: Path, config: RawConfig) -> None:
    content = first.read_bytes()
    target.write_bytes(content[: len(content) * 6 // 10])


def _other_speech(first: Path, second: Path, target: Path, config: RawConfig) -> None:
    inputs = ["-i", file_url(first), "-i", file_url(second)]
    _convert(inputs, ["-map", "0:v", "-map", "1:a", "-c", "copy"], target)


def _rotated(first: Path, second: Path, target: Path, config: RawConfig) -> None:
    """As a phone does it: pixels lie on their side, and the file says so. ffmpeg's option for it changes by version."""
    _convert(["-i", file_url(first)], ["-vf", "transpose=cclock", "-c:a", "copy"], target)
    content = target.read_bytes()
    start = content.index(_UPRIGHT, content.index(b"tkhd"))
    target.write_bytes(content[:start] + _TURNED + content[start + len(_TURNED) :])


def _three_shots(first: Path, second: Path, target: Path, config: RawConfig) -> None:
    """All of the first person, then two shots too short for a segment."""
    short = ["-t", str(_SHORT_SHOT_S)]
    inputs = ["-i", file_url(first), *short, "-i", file_url(second), *short, "-ss", "1", "-i", file_url(first)]
    joined = "[0:v][0:a][1:v][1:a][2:v][2:a]concat=n=3:v=1:a=1[v][a]"
    _convert(inputs, ["-filter_complex", joined, "-map", "[v]", "-map", "[a]"], target)


def _two_faces(first: Path, second: Path, target: Path, config: RawConfig) -> None:
    inputs = ["-i", file_url(first), "-i", file_url(second)]
    beside = ["-filter_complex", "[0:v][1:v]hstack[v]", "-map", "[v]", "-map", "0:a", "-c:a", "copy"]
    _convert(inputs, beside, target)


def _with_bytes(content: bytes) -> Callable[[Path, Path, Path, RawConfig], None]:
    def make(first: Path, second: Path, target: Path, config: RawConfig) -> None:
        target.write_bytes(content)

    return make


_KEPT = (LAST_STEP, KEPT, 1)
_SLIDE = (
    f"[0:v]split[under][over];[under]drawbox=color={_GREY}:t=fill[grey];"
    "[grey][over]overlay=x='max(0,(t-{half})*2*{size})'[v]"
)

FAULTS: dict[str, Fault] = {
    "truncated": Fault(_truncated, ((1, "broken_stream", 1),)),
    "zero_bytes": Fault(_with_bytes(b""), ((1, "unreadable", 1),)),
    "text": Fault(_with_bytes(b"This is not a video.\n" * 40), ((1, "unreadable", 1),)),
    "no_sound": Fault(_of_picture("-an"), ((1, "no_sound", 1),)),
    "silence": Fault(_of_sound("-af", "volume=0"), ((1, "silent", 1),)),
    "fps_60": Fault(_of_picture("-vf", "fps=60"), (_KEPT,)),
    "fps_24000_1001": Fault(_of_picture("-vf", "fps=24000/1001"), (_KEPT,)),
    "variable_rate": Fault(_of_picture("-vf", "select='mod(n,7)-3'", "-vsync", "vfr"), (_KEPT,)),
    "rotated": Fault(_rotated, (_KEPT,)),
    "three_shots": Fault(_three_shots, (_KEPT, (4, "too_short", 2))),
    "two_faces": Fault(_two_faces, ((5, "several_faces", 1),)),
    "small_face": Fault(
        _of_picture("-vf", "scale=iw*2/5:-2,pad={size}:{size}:(ow-iw)/2:(oh-ih)/2:" + _GREY), ((5, "small_face", 1),)
    ),
    "face_leaves": Fault(_of_picture("-filter_complex", _SLIDE, "-map", "[v]", "-map", "0:a"), ((5, "face_gaps", 1),)),
    "black": Fault(_of_picture("-vf", "drawbox=color=black:t=fill"), ((5, "no_face", 1),)),
    "sound_late_5": _shifted(5),
    "sound_early_5": _shifted(-5),
    "sound_late_10": _shifted(10),
    "other_speech": Fault(_other_speech, ((7, "out_of_sync", 1),)),
    "blur": Fault(_of_picture("-vf", "gblur=sigma={blur}"), ((8, "low_quality", 1),)),
}
"""What can be wrong with a raw video, and what the pipeline makes of it."""
