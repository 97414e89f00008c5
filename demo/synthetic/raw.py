"""Raw videos for the data pipeline: talking people, and files with known faults and expected verdicts.

ffmpeg makes every faulty file from the first two good ones, so that only good ones are rendered. `expected.json` beside
them has `{"settings": {...}, "files": {name: {"fault": ..., "ends": [{"step", "reason", "num_clips"}]}}}`: an end is
the last step that clips of the file reach, and the reason for their rejection, or `kept` after step 8. A file with
shifted audio also has `shift_frames`, the delay of its audio in frames.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from demo.synthetic.clip import FPS, TalkingClip
from demo.synthetic.drawing import Bytes
from demo.synthetic.renderer import Renderer
from demo.synthetic.speech import write_wav
from latentsync.errors import InputError
from latentsync.media.ffmpeg_tools import Stream, media_input
from latentsync.media.transcode import combine_streams, write_media
from latentsync.media.writer import VideoWriter
from latentsync.storage.atomic import atomic_write
from latentsync.storage.owned_folder import claim_folder, locked
from latentsync.storage.temporary_files import temporary_folder

logger = logging.getLogger(__name__)

PROGRAM = "raw videos"
EXPECTED = "expected.json"
_SETTINGS = ".settings.json"
"""Settings of unfinished videos; removed at the end."""
_REMEDY = "name another folder with --out"
KEPT = "kept"
LAST_STEP = 8

_EYE_DISTANCE = 0.66
"""Eye distance as a share of the resolution: a detected face is about twice as wide, a third above the limit."""
_MIN_SIZE = 2.5
"""Smallest frame as a multiple of the resolution: in a smaller one, face crops exceed the frame."""
_SUPERSAMPLE = 1.5
_CRF = 12
_SHORT_SHOT_S = 2.0
_GREY = "0x707070"
_UPRIGHT = bytes.fromhex("00010000 00000000 00000000 00000000 00010000 00000000 00000000 00000000 40000000")
_TURNED = bytes.fromhex("00000000 00010000 00000000 ffff0000 00000000 00000000 00000000 00000000 40000000")
"""Matrices of an mp4 track: unrotated, and to be rotated clockwise by the player."""


@dataclass(frozen=True)
class RawConfig:
    """Settings of a set of raw videos.

    Attributes:
        num_good: number of videos without a fault, at least 2.
        size: side of the square frames in pixels; independent of it, faces are a third larger than `resolution`.
        seconds: length of the good videos; the pipeline's segments have at least 5 s.
        seed: person k is a function of (seed, k).
        resolution: resolution of the pipeline, which determines the size of the faces.
    """

    num_good: int = 4
    size: int = 640
    seconds: float = 6.0
    seed: int = 0
    resolution: int = 256

    def __post_init__(self) -> None:
        if self.num_good < 2:
            raise InputError(f"--num_good {self.num_good}: use at least 2, the faulty videos are made from them")
        min_size = 2 * round(_MIN_SIZE * self.resolution / 2)
        if self.resolution < 16 or self.size < min_size or self.size % 2:
            raise InputError(
                f"--size {self.size}: for --resolution {self.resolution} use an even number of at least {min_size}"
            )


Make: TypeAlias = Callable[[Path, Path, Path, RawConfig], None]
"""Function that writes a faulty video: (first video, second video, target, config)."""


@dataclass(frozen=True)
class Fault:
    """Faulty video made from two good ones.

    Attributes:
        make: writes the file.
        ends: expected (last step, reason, number of clips).
        shift_frames: delay of the audio in frames.
        suffix: suffix of the file name.
    """

    make: Make
    ends: tuple[tuple[int, str, int], ...]
    shift_frames: int = 0
    suffix: str = ".mp4"


def make_raw_videos(folder: Path, config: RawConfig) -> list[Path]:
    """Create the missing files, each atomically, and `expected.json` last; return all paths.

    Raises:
        InputError: the folder contains raw videos of other settings or other files, or another run uses it.
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
            raise InputError(f"{folder} contains raw videos of other settings: {_REMEDY}")
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
    """Return the settings in a file of this program, or None if it is another file."""
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
    """Render frames (size, size, 3) uint8 RGB of a clip with an eye distance of `eye_distance` pixels."""
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


def _convert(streams: Sequence[Stream], target: Path, **options: Any) -> None:
    """Encode as H.264 and AAC, or as `options` say. A single thread makes the result reproducible."""
    defaults = {
        "vcodec": "libx264", "crf": _CRF, "preset": "veryfast", "pix_fmt": "yuv420p", "threads": 1,
        "acodec": "aac", "audio_bitrate": "96k", "movflags": "+faststart", "fflags": "+bitexact",
    }  # fmt: skip
    write_media(streams, target, options=["-filter_complex_threads", "1"], **{**defaults, **options})


def _change_video(change: Callable[[Stream, RawConfig], Stream], **options: Any) -> Make:
    """Return a function that changes the video of the first file and copies its audio."""

    def make(first: Path, second: Path, target: Path, config: RawConfig) -> None:
        source = media_input(first)
        _convert([change(source["v:0"], config), source["a:0"]], target, acodec="copy", **options)

    return make


def _change_audio(change: Callable[[Stream, RawConfig], Stream]) -> Make:
    """Return a function that changes the audio of the first file and copies its video."""

    def make(first: Path, second: Path, target: Path, config: RawConfig) -> None:
        source = media_input(first)
        _convert([source["v:0"], change(source["a:0"], config)], target, vcodec="copy")

    return make


def _shift_audio(num_frames: int) -> Fault:
    """Return the fault of audio delayed by `num_frames` (early if negative), filled up with silence."""
    seconds = num_frames / FPS

    def move(audio: Stream, config: RawConfig) -> Stream:
        if num_frames > 0:
            audio = audio.filter("adelay", round(seconds * 1000))
        else:
            audio = audio.filter("atrim", start=-seconds).filter("asetpts", "PTS-STARTPTS")
        return audio.filter("apad", whole_dur=config.seconds).filter("atrim", end=config.seconds)

    ends = _KEPT if abs(num_frames) <= 6 else (7, "offset_too_large", 1)
    return Fault(_change_audio(move), (ends,), shift_frames=num_frames)


def _truncated(first: Path, second: Path, target: Path, config: RawConfig) -> None:
    content = first.read_bytes()
    target.write_bytes(content[: len(content) * 6 // 10])


def _without_sound(first: Path, second: Path, target: Path, config: RawConfig) -> None:
    _convert([media_input(first)["v:0"]], target)


def _other_speech(first: Path, second: Path, target: Path, config: RawConfig) -> None:
    _convert([media_input(first)["v"], media_input(second)["a"]], target, vcodec="copy", acodec="copy")


def _rotated(first: Path, second: Path, target: Path, config: RawConfig) -> None:
    """Rotate the frames and set the track's matrix, as phones do. ffmpeg's own option differs between versions."""
    source = media_input(first)
    _convert([source["v:0"].filter("transpose", "cclock"), source["a:0"]], target, acodec="copy")
    content = target.read_bytes()
    start = content.index(_UPRIGHT, content.index(b"tkhd"))
    target.write_bytes(content[:start] + _TURNED + content[start + len(_TURNED) :])


def _three_shots(first: Path, second: Path, target: Path, config: RawConfig) -> None:
    """Join the first video and two shots that are too short for a segment."""
    shots = [
        media_input(first),
        media_input(second, t=_SHORT_SHOT_S),
        media_input(first, t=_SHORT_SHOT_S, ss=1),
    ]
    streams = [stream for shot in shots for stream in (shot["v"], shot["a"])]
    joined = combine_streams(streams, "concat", n=len(shots), v=1, a=1).node
    _convert([joined[0], joined[1]], target)


def _two_faces(first: Path, second: Path, target: Path, config: RawConfig) -> None:
    left, right = media_input(first), media_input(second)
    beside = combine_streams([left["v"], right["v"]], "hstack")
    _convert([beside, left["a"]], target, acodec="copy")


def _shrink(video: Stream, config: RawConfig) -> Stream:
    video = video.filter("scale", "iw*2/5", -2)
    return video.filter("pad", config.size, config.size, "(ow-iw)/2", "(oh-ih)/2", _GREY)


def _slide_out(video: Stream, config: RawConfig) -> Stream:
    """Slide the frames off a grey background, from the middle of the video on."""
    under, over = (video.split()[i] for i in range(2))
    grey = under.filter("drawbox", color=_GREY, t="fill")
    return grey.overlay(over, x=f"max(0,(t-{config.seconds / 2})*2*{config.size})")


def _with_bytes(content: bytes) -> Make:
    def make(first: Path, second: Path, target: Path, config: RawConfig) -> None:
        target.write_bytes(content)

    return make


_KEPT = (LAST_STEP, KEPT, 1)

FAULTS: dict[str, Fault] = {
    "truncated": Fault(_truncated, ((1, "broken_stream", 1),)),
    "zero_bytes": Fault(_with_bytes(b""), ((1, "unreadable", 1),)),
    "text": Fault(_with_bytes(b"This is not a video.\n" * 40), ((1, "unreadable", 1),)),
    "no_sound": Fault(_without_sound, ((1, "no_sound", 1),)),
    "silence": Fault(_change_audio(lambda audio, config: audio.filter("volume", 0)), ((1, "silent", 1),)),
    "fps_60": Fault(_change_video(lambda video, config: video.filter("fps", 60)), (_KEPT,)),
    "fps_24000_1001": Fault(_change_video(lambda video, config: video.filter("fps", "24000/1001")), (_KEPT,)),
    "variable_rate": Fault(
        _change_video(lambda video, config: video.filter("select", "mod(n,7)-3"), vsync="vfr"), (_KEPT,)
    ),
    "rotated": Fault(_rotated, (_KEPT,)),
    "three_shots": Fault(_three_shots, (_KEPT, (4, "too_short", 2))),
    "two_faces": Fault(_two_faces, ((5, "several_faces", 1),)),
    "small_face": Fault(_change_video(_shrink), ((5, "small_face", 1),)),
    "face_leaves": Fault(_change_video(_slide_out), ((5, "face_gaps", 1),)),
    "black": Fault(
        _change_video(lambda video, config: video.filter("drawbox", color="black", t="fill")), ((5, "no_face", 1),)
    ),
    "sound_late_5": _shift_audio(5),
    "sound_early_5": _shift_audio(-5),
    "sound_late_10": _shift_audio(10),
    "other_speech": Fault(_other_speech, ((7, "out_of_sync", 1),)),
    "blur": Fault(
        _change_video(lambda video, config: video.filter("gblur", sigma=config.size / 32)), ((8, "low_quality", 1),)
    ),
}
"""Faults by name, with the pipeline's expected verdicts."""
