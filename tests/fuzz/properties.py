"""What is fuzzed: for each kind of hostile input, what a case does and must hold.

The property is always the same: one line or a whole result; nothing else in the folder is changed, no input, no other
file; no traceback; memory and time within bounds.
"""

import json
import subprocess
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from unittest.mock import patch

import torch
import yaml
from hypothesis import strategies as st

from latentsync.media.probe import probe_audio, probe_video
from latentsync.recipes import lipsync as recipe
from latentsync.recipes.adapted_weights import CONFIG, RECORD, VERSION, WEIGHTS
from latentsync.storage.content_cache import content_key
from latentsync.weights import CHECKPOINTS, DEMO_UNET, DEMO_UNET_CONFIG, REPOSITORY_ROOT
from scripts import adapt, inference
from tests.demo_weights import DEMO_RUN
from tests.fuzz import api, service_api
from tests.fuzz.harness import CASES, case_folder, check_outcome, contents, run
from tests.fuzz.hostile_files import changed_weights, damaged, pickled, wave_files, yaml_values
from tests.tiny_pipeline import tiny_pipeline

VIDEOS = ("mp4", "mkv", "avi", "gif", "ts", "webm")
SOUNDS = ("wav", "mp3", "flac", "ogg")
NAMES = ("film.mp4", "film.mkv", "film", "fi lm.gif", "-film.avi", "film.m3u8", "film.txt")
ADAPTED_FILES = {WEIGHTS: CHECKPOINTS / DEMO_UNET, CONFIG: REPOSITORY_ROOT / DEMO_UNET_CONFIG}
WRITTEN = {"out.mp4", "out_sheet.png"}


@cache
def seeds(kinds: tuple[str, ...]) -> tuple[bytes, ...]:
    """Small whole files of each container, with picture and sound."""
    made = []
    with case_folder() as folder:
        for kind in kinds:
            path = folder / f"seed.{kind}"
            picture = ["-f", "lavfi", "-i", "testsrc2=size=96x96:rate=25:duration=0.3"]
            sound = ["-f", "lavfi", "-i", "sine=duration=0.3:sample_rate=16000"]
            inputs = sound if kind in SOUNDS else picture if kind == "gif" else [*picture, *sound]
            quick = ["-c:v", "libvpx", "-deadline", "realtime"] if kind == "webm" else []
            subprocess.run(["ffmpeg", "-v", "error", *inputs, *quick, "-threads", "1", str(path)], check=True)
            made.append(path.read_bytes())
    return tuple(made)


@cache
def _whole(kind: str) -> bytes:
    return seeds((kind,))[0]


@cache
def _tiny():
    return tiny_pipeline()


def lipsync(video: bytes, speech: bytes, video_name: str, speech_name: str) -> None:
    """A whole run on these files, with tiny networks."""
    with case_folder() as folder:
        (folder / video_name).write_bytes(video)
        (folder / speech_name).write_bytes(speech)
        (folder / "letter.txt").write_text("the user's")
        before = contents(folder)
        arguments = [f"--video_path={video_name}", f"--audio_path={speech_name}", "--video_out_path=out.mp4"]
        with patch.object(recipe, "build_pipeline", lambda build: _tiny()):
            outcome = run(inference.main, [*arguments, "--inference_steps=1", *DEMO_RUN])
        check_outcome(outcome)
        after = contents(folder)
        assert set(after) - set(before) == (WRITTEN if outcome.code == 0 else set()), (outcome, after)
        assert {name: after[name] for name in before} == before
        if outcome.code == 0:
            assert probe_video(folder / "out.mp4").duration_s > 0
            assert probe_audio(folder / "out.mp4").channels > 0
        CASES.add("video" if video_name != "whole.mp4" else "speech", outcome)


def weights(content: bytes, name: str) -> None:
    """A dry run with a U-Net checkpoint of these bytes."""
    with case_folder() as folder:
        (folder / name).write_bytes(content)
        (folder / "film.mp4").write_bytes(_whole("mp4"))
        before = contents(folder)
        config = REPOSITORY_ROOT / DEMO_UNET_CONFIG
        arguments = ["--unet_config_path", config, f"--inference_ckpt_path={name}", "--detector=mtcnn"]
        outcome = run(inference.main, [*arguments, "--video_path=film.mp4", "--audio_path=film.mp4", "--dry_run"])
        check_outcome(outcome)
        assert contents(folder) == before
        CASES.add("checkpoint", outcome)


def configuration(text: bytes) -> None:
    """A dry run with a U-Net configuration of these bytes."""
    with case_folder() as folder:
        (folder / "unet.yaml").write_bytes(text)
        (folder / "film.mp4").write_bytes(_whole("mp4"))
        before = contents(folder)
        arguments = ["--unet_config_path=unet.yaml", "--inference_ckpt_path", CHECKPOINTS / DEMO_UNET]
        arguments += ["--video_path=film.mp4", "--audio_path=film.mp4", "--detector=mtcnn", "--dry_run"]
        outcome = run(inference.main, arguments)
        check_outcome(outcome)
        assert contents(folder) == before
        CASES.add("configuration", outcome)


def adapted(record: bytes) -> None:
    """A dry run with adapted weights whose record has these bytes."""
    with case_folder() as folder:
        (folder / "anna").mkdir()
        for name, source in ADAPTED_FILES.items():
            (folder / "anna" / name).write_bytes(source.read_bytes())
        (folder / "anna" / RECORD).write_bytes(record)
        (folder / "film.mp4").write_bytes(_whole("mp4"))
        before = contents(folder)
        arguments = ["--adapted=anna", "--video_path=film.mp4", "--audio_path=film.mp4", "--detector=mtcnn"]
        with patch.object(recipe, "build_pipeline", lambda build: _tiny()):
            outcome = run(inference.main, [*arguments, "--dry_run"])
        check_outcome(outcome)
        assert contents(folder) == before
        CASES.add("adapted", outcome)


def footage(video: bytes, name: str) -> None:
    """An adaptation to this video, which shows no face."""
    with case_folder() as folder:
        (folder / name).write_bytes(video)
        (folder / "letter.txt").write_text("the user's")
        before = contents(folder)
        outcome = run(adapt.main, [f"--video={name}", "--out=anna", "--device=cpu", "--detector=mtcnn"])
        check_outcome(outcome, (2,))
        after = contents(folder)
        assert {name: after[name] for name in before} == before
        assert all(name.partition("/")[0] == "anna" for name in set(after) - set(before))
        CASES.add("footage", outcome)


def jobs(table: bytes) -> None:
    """A list of jobs of these bytes; the videos themselves are made by nobody."""

    def make(video: Path, audio: Path, out: Path, *others: object, **more: object) -> None:
        raise MemoryError("nothing is made here")

    with case_folder() as folder:
        (folder / "jobs.csv").write_bytes(table)
        for name in ("a.mp4", "b.mp4", "b_sheet.png"):
            (folder / name).write_bytes(_whole("mp4"))
        before = contents(folder)
        outcome = run(inference.main, ["--list=jobs.csv", "--compare", "--dry_run", *DEMO_RUN])
        check_outcome(outcome, (0, 1, 2))
        assert contents(folder) == before
        with patch.object(recipe, "build_pipeline", lambda build: make):
            outcome = run(inference.main, ["--list=jobs.csv", "--compare", *DEMO_RUN])
        check_outcome(outcome, (0, 1, 2))
        after = contents(folder)
        assert {name: after[name] for name in before} == before
        assert all(name.endswith(".lipsync.json") or after[name] == "no file" for name in set(after) - set(before))
        CASES.add("list", outcome)


def _video_cases() -> st.SearchStrategy[Callable[[], None]]:
    return st.builds(
        lambda video, name: lambda: lipsync(video, _whole("wav"), name, "speech.wav"),
        damaged(partial(seeds, VIDEOS)),
        st.sampled_from(NAMES),
    )


def _speech_cases() -> st.SearchStrategy[Callable[[], None]]:
    speech = damaged(partial(seeds, SOUNDS)) | wave_files()
    names = st.sampled_from(["speech.wav", "speech", "sp eech.mp3"])
    return st.builds(lambda sound, name: lambda: lipsync(_whole("mp4"), sound, "whole.mp4", name), speech, names)


@cache
def _demo_checkpoint() -> dict:
    return torch.load(CHECKPOINTS / DEMO_UNET, weights_only=True)


def _saved(content: object, as_pickle: bool) -> bytes:
    if as_pickle:
        return pickled(content)
    with case_folder() as folder:
        torch.save(content, folder / "w.pt")
        return (folder / "w.pt").read_bytes()


def _weight_cases() -> st.SearchStrategy[Callable[[], None]]:
    changed = changed_weights(_demo_checkpoint, "state_dict")
    content = damaged(lambda: [(CHECKPOINTS / DEMO_UNET).read_bytes()]) | st.builds(
        _saved, changed, st.sampled_from([False, False, False, True])
    )
    names = st.sampled_from(["w.pt", "w.safetensors", "w"])
    return st.builds(lambda data, name: lambda: weights(data, name), content, names)


def _configuration_cases() -> st.SearchStrategy[Callable[[], None]]:
    text = (REPOSITORY_ROOT / DEMO_UNET_CONFIG).read_bytes()
    content = yaml.safe_load(text)

    def changed(section: str, key: str, value: object) -> bytes:
        new = {name: dict(part) if isinstance(part, dict) else part for name, part in content.items()}
        if isinstance(new.get(section), dict) and key:
            new[section][key] = value
        else:
            new[section] = value
        return yaml.safe_dump(new, allow_unicode=True).encode()

    places = [(name, key) for name, part in content.items() if isinstance(part, dict) for key in part]
    places += [(name, "") for name in (*content, "base", "unknown", "training", "losses")] + [("model", "unknown")]
    made = st.builds(lambda place, value: changed(*place, value), st.sampled_from(places), yaml_values())
    return (made | damaged(lambda: [text]) | st.binary(max_size=40)).map(lambda data: lambda: configuration(data))


def _adapted_cases() -> st.SearchStrategy[Callable[[], None]]:
    files = {name: content_key(source) for name, source in ADAPTED_FILES.items()}
    base = {str(DEMO_UNET): "0" * 40}
    whole = {"version": VERSION, "files": files, "belongs_to": {}, "base": str(DEMO_UNET), "report": {}}
    names = st.sampled_from([*files, "", "..", "/", "a\0b", "\ud800", "n" * 300])
    value = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from([files, base]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=5,
    )
    changed = st.builds(lambda key, new: json.dumps(whole | {key: new}).encode(), st.sampled_from(list(whole)), value)
    text = damaged(lambda: [json.dumps(whole).encode()]) | value.map(lambda new: json.dumps(new).encode())
    deep = st.just(b"[" * 5_000)
    return (changed | text | deep).map(lambda data: lambda: adapted(data))


def _footage_cases() -> st.SearchStrategy[Callable[[], None]]:
    content = damaged(partial(seeds, VIDEOS)) | st.just(b"this is not a film\n" * 50)
    return st.builds(lambda video, name: lambda: footage(video, name), content, st.sampled_from(NAMES))


def _list_cases() -> st.SearchStrategy[Callable[[], None]]:
    name = st.sampled_from(
        ["a.mp4", "b.mp4", "c.mp4", "b_compare.mp4", "./a.mp4", "new/d.mp4", "a.mp4/x.mp4", "jobs.csv", "/", ".", "",
         "n" * 300 + ".mp4", "r.txt", "..", "é\ud7ff.mkv", "a\tb.mp4", '"q".mp4', "new/../b.mp4", "c.mkv"]
    )  # fmt: skip
    row = st.tuples(name, name, name).map(lambda cells: ",".join(f'"{c.replace(chr(34), chr(34) * 2)}"' for c in cells))
    header = "video_path,audio_path,video_out_path\n"
    table = st.lists(row, max_size=4).map(lambda rows: (header + "\n".join(rows) + "\n").encode())
    whole = (header + "a.mp4,b.mp4,c.mp4\n").encode()
    return (table | damaged(lambda: [whole])).map(lambda data: lambda: jobs(data))


PROPERTIES: dict[str, Callable[[], st.SearchStrategy[Callable[[], None]]]] = {
    "video": _video_cases,
    "speech": _speech_cases,
    "checkpoint": _weight_cases,
    "configuration": _configuration_cases,
    "list": _list_cases,
    "adapted": _adapted_cases,
    "footage": _footage_cases,
    "API": lambda: api.cases(lambda: _whole("mp4")),
    "service": service_api.cases,
}
"""Strategies of cases by the name of what is hostile; a case is called to be run."""
