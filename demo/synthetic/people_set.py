"""Folders of scenes with two people, as videos with ground truth; writing them is resumable.

Scene k is `scene_<k>.mp4` with the mixed sound, `scene_<k>_left.wav` and `scene_<k>_right.wav` with each person's own
voice, and `scene_<k>.json` with the ground truth, which is written last. With an occluder there is also its true mask,
`scene_<k>_mask.mkv`, and on request the same as images in the folder `scene_<k>_mask`.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.synthetic.clip import FPS
from demo.synthetic.conversation import Kind
from demo.synthetic.head_rotation import MAX_YAW_DEGREES
from demo.synthetic.occluder import OCCLUDERS, Occluder, write_mask_images, write_mask_video
from demo.synthetic.occluder_drawing import OccluderKind
from demo.synthetic.people_scene import KINDS, SIDES, PeopleScene
from demo.synthetic.speech import write_wav
from latentsync.errors import InputError
from latentsync.media.writer import VideoWriter
from latentsync.storage.atomic import atomic_write
from latentsync.storage.owned_folder import claim_folder, locked
from latentsync.storage.temporary_files import temporary_folder

logger = logging.getLogger(__name__)

PROGRAM = "synthetic people"
_REMEDY = "name another folder with --out"
_CRF = 16


@dataclass(frozen=True)
class PeopleConfig:
    """Settings of a set of scenes; scene k is a function of (seed, k, seconds, its kind).

    Attributes:
        out: folder.
        count: number of scenes.
        seed: of all scenes.
        kind: what happens in every scene; None for all kinds in turn.
        seconds: length of a scene.
        occluder: a thing that moves in front of the mouth of one person, or None.
        mask_images: also write its masks as images.
        turn: yaw in degrees to which one person turns the head, or None.
    """

    out: Path
    count: int = 5
    seed: int = 0
    kind: Kind | None = None
    seconds: float = 8.0
    occluder: OccluderKind | None = None
    mask_images: bool = False
    turn: float | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"--count {self.count}: use at least 1")
        if not 1.0 <= self.seconds <= 600.0:
            raise InputError(f"--seconds {self.seconds}: choose between 1 and 600 for scenes with two people")
        if self.mask_images and self.occluder is None:
            raise InputError(f"--mask_images without --occluder: there is no mask; add --occluder {OCCLUDERS[0]}")

        if self.turn is not None and not 0.0 < self.turn <= MAX_YAW_DEGREES:
            raise InputError(f"--turn {self.turn:g}: choose up to {MAX_YAW_DEGREES:g} degrees")

    def kind_of(self, index: int) -> Kind:
        """Return the kind of a scene."""
        return self.kind or KINDS[index % len(KINDS)]

    def settings_of(self, index: int) -> dict[str, Any]:
        """Return what a scene is a function of, as plain values."""
        chosen: dict[str, Any] = {"occluder": self.occluder, "mask_images": self.mask_images} if self.occluder else {}
        chosen |= {} if self.turn is None else {"turn": self.turn}
        return {
            "seed": self.seed, "index": index, "kind": self.kind_of(index), "seconds": self.seconds, **chosen,
        }  # fmt: skip


def make_people_scenes(config: PeopleConfig) -> list[Path]:
    """Create the missing scenes, each file atomically; return the paths of all ground truths.

    Raises:
        InputError: the folder contains scenes of other settings or other files, or another run uses it.
        ToolError: ffmpeg or espeak-ng is missing or failed.
    """
    claim_folder(config.out, PROGRAM, _REMEDY)
    with locked(config.out, f"wait for it, or {_REMEDY}"):
        paths = [config.out / f"scene_{index:03d}.json" for index in range(config.count)]
        missing = [index for index, path in enumerate(paths) if not _is_complete(path, config.settings_of(index))]
        for index in missing:
            logger.info("%s", paths[index])
            _write_scene(paths[index], config.settings_of(index))
    return paths


def _is_complete(path: Path, settings: dict[str, Any]) -> bool:
    """Return whether a scene exists. Raises InputError if it has other settings or its file was changed."""
    if not path.exists():
        return False
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("settings") != settings:
        raise InputError(f"{path} is a scene of other settings: {_REMEDY}")
    return True


def _write_scene(path: Path, settings: dict[str, Any]) -> None:
    scene = PeopleScene(
        settings["seed"], settings["index"], settings["kind"], settings["seconds"], turn_degrees=settings.get("turn")
    )
    occluder = scene.occluder(settings["occluder"]) if "occluder" in settings else None
    video = path.with_suffix(".mp4")
    files = {"video": video.name}
    for side, samples in zip(SIDES, scene.voices, strict=True):
        voice = path.with_name(f"{path.stem}_{side}.wav")
        files[side] = voice.name
        with atomic_write(voice) as beside:
            write_wav(beside, samples)
    with temporary_folder(path.parent, _REMEDY) as work:
        write_wav(work / "sound.wav", scene.samples)
        with VideoWriter(video, *scene.frame_size, FPS, _CRF, work / "sound.wav") as writer:
            for frame in scene.frames() if occluder is None else occluder.over(scene.frames()):
                writer.write(frame)
    content = {"settings": settings, "files": files, **scene.description()}
    if occluder is not None:
        files |= _write_masks(path, occluder, scene.frame_size, settings["mask_images"])
        content["occluder"] = occluder.description()
    with atomic_write(path) as beside:
        beside.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _write_masks(path: Path, occluder: Occluder, size: tuple[int, int], with_images: bool) -> dict[str, str]:
    """Write the masks of a scene beside its ground truth; return their names."""
    video, folder = path.with_name(f"{path.stem}_mask.mkv"), path.with_name(f"{path.stem}_mask")
    write_mask_video(occluder.masks(), size, video)
    if not with_images:
        return {"mask": video.name}
    if not folder.exists():
        write_mask_images(occluder.masks(), folder)
    return {"mask": video.name, "mask_images": folder.name}
