"""``python -m latentsync.doctor``: report what is installed, and what is missing for which task."""

import hashlib
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from latentsync.accelerator import explain_unusable_card
from latentsync.cli import OneLineParser, run_command
from latentsync.device import cpu_multiplies_bfloat16, fastest_device, resolve_dtype
from latentsync.errors import CheckpointError, LatentSyncError, ToolError
from latentsync.face.xseg import require_xseg
from latentsync.media.ffmpeg_tools import ffmpeg_encoders, ffmpeg_version
from latentsync.weights import (
    CHECKPOINTS,
    COPIED_BY_HAND,
    FACE_ALIGNMENT,
    FACE_EMBEDDING,
    MTCNN_FALLBACK,
    UNET,
    find_weight_set,
    has_content,
    published_files,
    recorded_version,
)

ENCODERS = {"libx264": "all videos", "aac": "audio of results", "alac": "audio of training clips"}
_GIB = 1024**3
_HASH_BYTES = 1 << 22


@dataclass(frozen=True)
class Task:
    """One use of this repository and its requirements.

    Attributes:
        name: description in a few words.
        packages: distribution names of the packages that it imports beside torch.
        encoders: encoders of ffmpeg that it requires.
        weights: published files that it uses, relative to the checkpoints folder: on the hub, or copied by hand.
        fallback: sentence that states what happens while the weights are missing.
    """

    name: str
    packages: tuple[str, ...]
    encoders: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    fallback: str = ""


TASKS = (
    Task(
        "lip-sync a video",
        ("diffusers", "openai-whisper", "facenet-pytorch", "face-alignment", "scenedetect"),
        ("libx264", "aac"),
        (UNET, "whisper/tiny.pt", "vae/config.json", "vae/diffusion_pytorch_model.safetensors"),
        "the demo weights are used, which are trained on synthetic people only",
    ),
    Task("ignore music and breath in the speech (--silence)", ("silero-vad",)),
    Task(
        "recognize people across cuts by their faces",
        ("facenet-pytorch",),
        (),
        (FACE_EMBEDDING,),
        "they are recognized by the colours of hair, face and clothes",
    ),
    Task("align faces as published", ("face-alignment",), (), FACE_ALIGNMENT, MTCNN_FALLBACK),
    Task(
        "train the U-Net, stage 2",
        ("accelerate", "decord", "tensorboard", "lpips"),
        (),
        ("stable_syncnet.pt", "auxiliary/vit_g_hybrid_pt_1200e_ssv2_ft.pth", "auxiliary/vgg16-397923af.pth"),
        "an error names each loss whose frozen network is missing; configs/demo uses the demo networks instead",
    ),
    Task(
        "adapt the published weights to a person",
        ("peft", "accelerate", "decord", "tensorboard"),
        ("libx264", "alac"),
        (UNET, "whisper/tiny.pt", "vae/config.json", "vae/diffusion_pytorch_model.safetensors", *FACE_ALIGNMENT),
        "./adapt.sh adapts the demo weights",
    ),
    Task("train a SyncNet", ("accelerate", "decord", "tensorboard")),
    Task(
        "turn raw videos into training clips",
        ("scenedetect", "decord", "facenet-pytorch", "face-alignment", "psutil"),
        ("libx264", "alac"),
        ("auxiliary/syncnet_v2.model", "auxiliary/koniq_pretrained.pkl", "auxiliary/s3fd-619a316812.pth"),
        "score sync with --sync_scorer stable_syncnet; skip the quality step with --skip_steps 8",
    ),
    Task("the same on a cluster", ("ray",)),
    Task(
        "evaluate",
        ("scikit-image", "lpips", "torch-fidelity"),
        (),
        (
            "auxiliary/syncnet_v2.model",
            "auxiliary/i3d_torchscript.pt",
            "auxiliary/koniq_pretrained.pkl",
            "auxiliary/vgg16-397923af.pth",
            FACE_EMBEDDING,
        ),
        "metrics whose weights are missing are reported as not measured",
    ),
    Task("the app", ("gradio",), ("libx264", "aac")),
)


def report(with_hashes: bool = True) -> Iterator[str]:
    """Yield the lines of the report.

    Args:
        with_hashes: read every weights file to compute its SHA-256.
    """
    yield from _machine()
    yield ""
    yield from _ffmpeg()
    yield ""
    yield from _weights(with_hashes)
    yield ""
    for task in TASKS:
        yield from _task(task)
    yield from _occluder_search()


def can_lipsync() -> bool:
    """Return True if `inference.sh` can run on this machine, with the published or the demo weights."""
    try:
        find_weight_set(CHECKPOINTS.parent)
    except LatentSyncError:
        return False
    return not _missing_packages(TASKS[0]) and not _missing_encoders(TASKS[0])


def _machine() -> Iterator[str]:
    yield f"python {platform.python_version()} on {platform.system()} {platform.machine()}"
    names = "torch", "diffusers", "transformers"
    yield ", ".join(
        f"{name} {importlib.metadata.version(name) if _is_installed(name) else 'MISSING'}" for name in names
    )
    bfloat16 = "with" if cpu_multiplies_bfloat16() else "without"
    yield f"cpu: {os.cpu_count()} cores, {bfloat16} bfloat16 instructions"
    num_cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for index in range(num_cards):
        properties = torch.cuda.get_device_properties(index)
        capability = f"compute capability {properties.major}.{properties.minor}"
        yield f"cuda:{index}: {properties.name}, {properties.total_memory / _GIB:.0f} GiB, {capability}"
    for index in range(max(1, num_cards)):
        reason = explain_unusable_card(index)
        if reason is not None:
            yield f"WARNING: {reason}"
    device = fastest_device()
    yield f"computes on {device} in {str(resolve_dtype('auto', device)).removeprefix('torch.')} by default"
    for what, folder in {
        "weights": CHECKPOINTS,
        "this folder": Path.cwd(),
        "temporary files": Path(tempfile.gettempdir()),
    }.items():
        yield f"free disk for {what}: {shutil.disk_usage(folder).free / _GIB:.0f} GiB"


def _ffmpeg() -> Iterator[str]:
    try:
        version = ffmpeg_version()
    except ToolError as error:
        yield f"ffmpeg: MISSING. {error}"
        return
    yield f"ffmpeg {version}: {shutil.which('ffmpeg')}"
    available = _available_encoders()
    for encoder, purpose in ENCODERS.items():
        yield f"  {encoder}: {'yes' if encoder in available else 'MISSING'} ({purpose})"


def _weights(with_hashes: bool) -> Iterator[str]:
    try:
        found = find_weight_set(CHECKPOINTS.parent)
        yield f"weights: inference uses {found.name} ({found.unet_checkpoint})"
    except LatentSyncError as error:
        yield f"weights: {error}"
    try:
        files = published_files(recorded_version(CHECKPOINTS) or "1.6")
    except LatentSyncError as error:
        yield f"weights: {error}"
        files = published_files()
    for file in files:
        path = file.find(CHECKPOINTS)
        if path is None:
            yield f"  {file.path}: missing ({file.repository})"
        else:
            yield _describe_file(path, with_hashes)
    for name, origin in COPIED_BY_HAND.items():
        if has_content(CHECKPOINTS / name):
            yield _describe_file(CHECKPOINTS / name, with_hashes)
        else:
            yield f"  {name}: missing ({origin})"
    for path in sorted(path for path in (CHECKPOINTS / "demo").rglob("*") if path.is_file()):
        if path.suffix in (".pt", ".safetensors"):
            yield _describe_file(path, with_hashes)


def _describe_file(path: Path, with_hash: bool) -> str:
    """Return the line of one file: size and first digits of its SHA-256."""
    line = f"  {path.relative_to(CHECKPOINTS)}: {path.stat().st_size / 1e6:.1f} MB"
    if not with_hash:
        return line
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_HASH_BYTES):
                digest.update(block)
    except OSError as error:
        return f"{line}, cannot be read ({error.strerror})"
    return f"{line}, sha256 {digest.hexdigest()[:16]}"


def _task(task: Task) -> Iterator[str]:
    packages, encoders = _missing_packages(task), _missing_encoders(task)
    weights = [name for name in task.weights if not _is_here(name)]
    state = "not possible yet" if packages or encoders else "possible with limits" if weights else "ready"
    yield f"{task.name}: {state}"
    if packages:
        yield f"  install: pip install {' '.join(packages)}"
    if encoders:
        yield f"  ffmpeg lacks the encoders {', '.join(encoders)}: install a full build"
    if weights:
        yield f"  missing: {', '.join(weights)}"
        yield f"  until then: {task.fallback}"
        yield from _how_to_get(weights)


def _is_here(name: str) -> bool:
    on_hub = {file.path: file for file in published_files()}
    return on_hub[name].is_here(CHECKPOINTS) if name in on_hub else has_content(CHECKPOINTS / name)


def _how_to_get(weights: Sequence[str]) -> Iterator[str]:
    needs = {file.need for file in published_files() if file.path in weights}
    if needs:
        option = " --training" if "training" in needs else ""
        yield f"  to download them: python -m scripts.download_weights{option}"
    for name in weights:
        if name in COPIED_BY_HAND:
            yield f"  to get {Path(name).name}: copy it from the {COPIED_BY_HAND[name]}"


def _occluder_search() -> Iterator[str]:
    """Yield the lines of --occluder auto, whose package keeps its weights in a folder of its own."""
    task = "find things in front of the mouth (--occluder auto)"
    try:
        require_xseg()
        yield f"{task}: ready"
    except CheckpointError as error:
        yield f"{task}: not possible yet"
        yield f"  {error}"


def _missing_packages(task: Task) -> list[str]:
    return [name for name in task.packages if not _is_installed(name)]


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _missing_encoders(task: Task) -> list[str]:
    available = _available_encoders() if task.encoders else set()
    return [name for name in task.encoders if name not in available]


def _available_encoders() -> set[str]:
    try:
        return ffmpeg_encoders()
    except ToolError:
        return set()


def main(argv: list[str] | None = None) -> int:
    """Print the report; return 1 if lip-sync cannot run even with the demo weights, else 0."""
    parser = OneLineParser(prog="python -m latentsync.doctor", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="do not compute the hashes of the weights files")
    arguments = parser.parse_args(argv)
    return run_command(lambda: print_report(with_hashes=not arguments.quick))


def print_report(with_hashes: bool) -> int:
    """Print the report and return the exit status."""
    for line in report(with_hashes):
        print(line, flush=True)
    return 0 if can_lipsync() else 1


if __name__ == "__main__":
    sys.exit(main())
