"""The commands of README and docs, run as they stand there, one document after the other, in one new user's folder.

The folder has what the documents take for granted (a video of a person, a speech, raw videos, ...). Where a command
would take long, arguments that make it short are added (SHORTER); where it wants the published weights or a GPU, and
the document says so, it is run with --dry_run; ELSEWHERE names the tests that run it otherwise; what only measures,
for long, is in MEASUREMENTS. Commands of some documents (MARKED_LONG) are marked `long`.
Commands build on each other: run the whole file.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from latentsync.media.ffmpeg_tools import run_tool
from latentsync.weights import REPOSITORY_ROOT, published_files
from tests.demo_weights import DEMO_RUN
from tests.documented_commands import Command, documented_commands, name_of, start
from tests.process_state import process_as_before
from tests.repository_copy import is_stand_in
from tests.training_setup import write_clips

pytestmark = pytest.mark.slow
SPOKEN = pytest.mark.needs_espeak

NEEDS_SPEECH = re.compile(r"demo\.(synthetic|training)|configs/demo|eval\.synthetic_set|data/|runs/")
"""Commands that make speaking people with espeak-ng, or use such."""
LINKED = (
    "assets", "benchmarks", "checkpoints", "configs", "demo", "eval", "latentsync", "preprocess", "scripts", "tests",
)  # fmt: skip
QUICK_TRAINING = (
    "training.max_steps=1",
    "training.batch_size=2",
    "training.num_workers=0",
    "training.validate_every=0",
)
ITS_FACES = ("--detector", "mtcnn", "--device", "cpu")
SHORTER = {
    r"\./inference\.sh --(preset exact$|unet_config_path configs/demo/)": (
        "--inference_steps", "1", "--video_path", "talk.mp4", "--audio_path", "speech.wav",
    ),
    r"\./inference\.sh --video_path": ("--inference_steps", "1", *DEMO_RUN),
    r"python -m scripts\.inference --list": ("--inference_steps", "1", *DEMO_RUN),
    r"python -m eval\.inference_videos": ("--inference_steps", "1", *DEMO_RUN),
    r"python -m eval\.run --pairs runs/mine/": ("--metrics", "psnr", "--limit", "1", *ITS_FACES),
    r"python -m eval\.run": ("--limit", "1", *ITS_FACES),
    r"python -m eval\.sanity": ("--metrics", "psnr", *ITS_FACES),
    r"python -m eval\.metrics\.": ITS_FACES,
    r"\./eval/eval_sync_conf\.sh": ITS_FACES,
    r"python -m benchmarks\.anchor_jitter": ITS_FACES,
    r"python -m eval\.synthetic_set": ("--num", "2", "--seconds", "1", "--size", "256"),
    r"\./data_processing_pipeline\.sh": (
        "--num_workers", "1", "--limit", "1", "segments.min_s=2", "faces.detector=mtcnn",
    ),
    r"python -m demo\.synthetic dataset": ("--num_clips", "2", "--seconds", "1.4", "--workers", "1"),
    r"python -m demo\.training (?!\.)": QUICK_TRAINING,
    r"\./train_(unet|syncnet)\.sh --config configs/demo": QUICK_TRAINING,
    r"python -m eval\.demo_weights": (
        "--clips", "2", "--dubs", "1", "--own", "1", "--frames", "32", "--steps", "1",
    ),
    r"python -m benchmarks\.exact_differences": ("--detector", "mtcnn"),
    r"python -m benchmarks\.loader_speed": ("--workers", "0", "--num_batches", "1"),
}  # fmt: skip
"""Commands (patterns of their beginning) and what is added to them, so that they are short and use what comes along."""
DRY = {
    r"\./train_syncnet\.sh .*OUT/high_visual_quality": ("data.train_clips=CLIPS", "data.validation_clips=HELD_OUT"),
}
"""Dry runs and what is added: of one short clip the shortened pipeline keeps nothing to train with."""
WANTS_MORE = ("published weights", "GPU")
"""What a document's note on a command says where it is run dry."""
ABSENT = re.compile(r"checkpoints/(latentsync_unet\.pt|auxiliary/[\w.-]+) (does not exist|is missing)")
"""How a dry run ends on a machine without the published weights, once the rest was found to be right."""
ELSEWHERE = {
    r"python -m tests\.first_contact": ".ci/run",
    r".* --help$": "tests/integration/test_documented_commands.py",
    r"source setup_env\.sh": "tests/e2e/test_setup_env.py",
    r"\./inference\.sh$": "tests/e2e/test_demo.py",
    r"python gradio_app\.py": "tests/e2e/test_gradio_app.py",
    r"python -m latentsync\.server": "tests/e2e/test_service.py",
    r"python -m latentsync\.doctor": "tests/unit/test_doctor.py",
    r"python -m scripts\.download_weights": "tests/unit/test_download_weights.py",
    r"python -m benchmarks\.demo_mouth": "tests/e2e/test_demo.py",
    r"\./data_processing_pipeline\.sh .* --executor ray": "tests/integration/test_preprocess_ray.py",
    r"python -m demo\.synthetic raw": "tests/e2e/test_data_pipeline.py",
    r"python -m eval\.demo_weights vae mouth_reader": "tests/unit/eval/demo_weights/test_command.py",
    r"python -m demo\.training .*_varied": "tests/integration/test_training_lines.py",
    r"\./train_unet\.sh --config configs/demo/unet_varied": "tests/integration/test_training_lines.py",
    r"python -m demo\.synthetic dataset --out data/train_mixed": "tests/unit/demo/synthetic/test_varied.py",
    r"\./adapt\.sh": "tests/e2e/test_adapt.py",
    r"python -m benchmarks\.adaptation_table": "tests/unit/benchmarks/test_adaptation_table.py",
    r"\./inference\.sh --adapted": "tests/e2e/test_adapt.py",
    r"python -m demo\.synthetic people": "tests/unit/demo/synthetic/test_people_set.py",
    r"python -m demo\.synthetic voices": "tests/unit/demo/synthetic/test_speech.py",
    r"\./data_processing_pipeline\.sh --config configs/preprocess/demo\.yaml": "tests/e2e/test_data_pipeline.py",
    r"python -m preprocess\.outcomes (out|OUT)": "tests/e2e/test_data_pipeline.py",
    r"python -m preprocess\.report OUT": "tests/unit/preprocess/test_report.py",
    r"python -m scripts\.inference --list .* --executor ray": "tests/integration/test_list_executors.py",
    r"python -m benchmarks\.gpu_report": "tests/integration/test_gpu_report.py",
    r"python -m benchmarks\.published_path": "tests/integration/test_published_path.py",
    r"python -m benchmarks\.demo_time": "tests/integration/test_demo_time.py",
    r"python -m benchmarks\.unet_profile": "tests/unit/benchmarks/test_unet_profile.py",
}
"""Commands that other tests run."""
MEASUREMENTS = (
    r"python -m benchmarks\.(memory|model_dtypes|readme_images app|syncnet_convergence)",
    r"python -m benchmarks\.(loss_gradients|videomae_memory|fuzz|faults|silence)",
    r"python -m benchmarks\.(inference_options|preprocess_throughput|face_speed|speed_ladder|masked_latents)",
    r"python -m benchmarks\.(face_memory|startup|tiny_vae|training_speed|real_faces|head_pose|occluders)",
    r"python -m benchmarks\.adaptation ",
    r"python -m benchmarks\.(list_throughput|long_video|speaker_turns|people|service)",
    r"python -m pip wheel",
)
"""Commands that measure for minutes to hours; the integration test of documented commands reads their arguments."""
MARKED_LONG = tuple(
    f"docs/{name}.md" for name in ("demo_weights", "evaluation", "measurements", "speed", "syncnet_convergence")
)
"""Documents on how the demo weights were trained, how this project was measured, and on the evaluation, whose main
commands are in the README too."""

COMMANDS = documented_commands(REPOSITORY_ROOT)


def matching(command: Command, patterns: Iterable[str]) -> str | None:
    """The first of some patterns with which a command begins."""
    return next((pattern for pattern in patterns if re.match(pattern, command.text)), None)


def runs_dry(command: Command) -> bool:
    return "--dry_run" in command.arguments or any(words in command.note for words in WANTS_MORE)


def is_mention(command: Command) -> bool:
    """A program that is named in passing, and called with arguments elsewhere."""
    return not command.arguments and any(c.program == command.program and c.arguments for c in COMMANDS)


RUN_HERE = [c for c in COMMANDS if not is_mention(c) and not matching(c, [*ELSEWHERE, *MEASUREMENTS])]


def marks(command: Command) -> list[pytest.MarkDecorator]:
    needed = [SPOKEN] if NEEDS_SPEECH.search(command.text) else []
    return needed + ([pytest.mark.long] if command.document in MARKED_LONG else [])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new user's folder: the repository's parts, and what the documents take for granted."""
    folder = tmp_path_factory.mktemp("new user")
    for name in LINKED:
        (folder / name).symlink_to(REPOSITORY_ROOT / name)
    video, speech = REPOSITORY_ROOT / "assets/demo1_video.mp4", REPOSITORY_ROOT / "assets/demo1_audio.wav"
    cut(video, "0", "0.8", folder / "talk.mp4")
    cut(speech, "0", "0.7", folder / "speech.wav")
    sides = "[0]scale=256:256,split[a][b];[a][b]hstack"
    run_tool(
        ["ffmpeg", "-v", "error", "-i", str(folder / "talk.mp4"), "-filter_complex", sides, str(folder / "table.mp4")]
    )
    (folder / "masks.mp4").symlink_to("talk.mp4")  # its bright parts count as something in front of the face
    for name in ("anna.wav", "ben.wav"):
        (folder / name).symlink_to("speech.wav")
    (folder / "jobs.csv").write_text("video_path,audio_path,video_out_path\ntalk.mp4,speech.wav,listed.mp4\n")
    for name, seconds in {"RAW": "2.2", "my_clips": "0.8"}.items():
        (folder / name).mkdir()
        cut(video, "0", seconds, folder / name / "one.mp4")
        cut(video, "2.5", seconds, folder / name / "two.mp4")
    for name in ("CLIPS", "HELD_OUT"):
        write_clips(folder / name, num_clips=2, size=128)
    (folder / "RESULT").symlink_to(video)
    for name in ("video_out_compare.mp4", "CLIP..."):
        (folder / name).symlink_to("talk.mp4")
    (folder / "runs").mkdir()
    for name in ("report_before", "report_now"):
        (folder / "runs" / name).symlink_to("eval_report")
    for name in ("figures_all-1", "figures_all-2"):
        (folder / "runs" / name).symlink_to("figures_all-0")
    return folder


def cut(source: Path, start: str, seconds: str, out: Path) -> None:
    run_tool(["ffmpeg", "-v", "error", "-ss", start, "-i", str(source), "-t", seconds, str(out)])


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
@pytest.mark.parametrize("command", [pytest.param(c, marks=marks(c), id=name_of(c)) for c in RUN_HERE])
def test_it_runs(
    command: Command,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(folder)
    more = SHORTER.get(matching(command, SHORTER) or "", ())
    if runs_dry(command):
        more = (*DRY.get(matching(command, DRY) or "", ()), "--dry_run")
    monkeypatch.setattr(sys, "argv", [command.program, *command.arguments, *more])
    with process_as_before():
        status = status_of(command.program)
    printed = capsys.readouterr()
    if "published weights" in command.note and (ABSENT.search(printed.err) or stand_in_is_named(printed.err)):
        assert status != 0  # all but the weights was found to be right
    else:
        assert status == 0, printed.out + printed.err


def stand_in_is_named(error: str) -> bool:
    """Whether a stand-in of published weights is what an error names."""
    return any(is_stand_in(file.find()) and file.path in error for file in published_files())


def status_of(program: str) -> int:
    """The exit status of a program that is run in this process."""
    try:
        start(program)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


@pytest.mark.parametrize("pattern", [*SHORTER, *DRY, *ELSEWHERE, *MEASUREMENTS])
def test_every_exception_is_still_documented(pattern: str):
    assert any(matching(command, [pattern]) for command in COMMANDS)


@pytest.mark.parametrize("test", ELSEWHERE.values())
def test_the_other_tests_are_there(test: str):
    assert (REPOSITORY_ROOT / test).is_file()


def test_what_wants_more_than_a_laptop_says_so():
    big = [c for c in COMMANDS if any(a.startswith(("configs/unet/", "configs/syncnet/")) for a in c.arguments)]
    assert [name_of(command) for command in big if not runs_dry(command)] == []
