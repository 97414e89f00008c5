"""The controls of the page for silence, for lengths that differ, and for what is before or beside the mouth."""

from typing import Any

import gradio as gr

from latentsync.app.lipsync_service import LipsyncService
from latentsync.errors import InputError
from latentsync.pipelines.occluders import AUTO
from latentsync.pipelines.options import MAX_YAW, SILENCE, SYNC_MODES


class SceneControls:
    """Components for silence, length, occluders and turned heads; they do not depend on a preset."""

    def __init__(self, service: LipsyncService) -> None:
        self.service = service

    def build(self) -> None:
        """Create the components."""
        defaults, (low, high) = self.service.defaults, MAX_YAW
        self.silence = gr.Radio(
            list(SILENCE),
            value=defaults.silence,
            label="Silence",
            info="keep: music, breath and noise between speech do not move the mouth; close: it is closed there too",
            elem_id="silence",
        )
        self.sync_mode = gr.Radio(
            list(SYNC_MODES),
            value=defaults.sync_mode,
            label="Sync mode",
            info="a video shorter than the speech is played back and forth (bounce), repeated (loop) or held (freeze); "
            "cut ends with the shorter of both, silence with the longer",
            elem_id="sync_mode",
        )
        self.max_yaw = gr.Slider(
            low,
            high,
            high if defaults.max_yaw is None else defaults.max_yaw,
            step=1,
            label="Largest turn of the head",
            info=f"degrees; a face that turns further fades to the source; {high:g}: no limit",
            elem_id="max_yaw",
        )
        self.occluder = gr.File(  # gr.Video shows an error for codecs that browsers lack, such as lossless ones
            label="Mask video of things in front of the face (white is in front)",
            type="filepath",
            height=140,
            elem_id="occluder",
        )
        self.find_occluders = gr.Checkbox(
            False,
            label="Find things in front of the face",
            info="with XSeg, instead of masks",
            visible=self.service.finds_occluders,
            elem_id="find_occluders",
        )

    @property
    def inputs(self) -> list[Any]:
        """Components that a lip-sync job takes."""
        return [self.silence, self.sync_mode, self.max_yaw, self.occluder, self.find_occluders]


def yaw_option(degrees: float) -> float | None:
    """Return the value of `LipsyncOptions.max_yaw`; the upper end of the slider is no limit."""
    return None if degrees == MAX_YAW[1] else degrees


def occluder_option(masks: str | None, is_automatic: bool) -> str | None:
    """Return the value of `LipsyncOptions.occluder`.

    Args:
        masks: uploaded mask video.
        is_automatic: things in front of the face are to be found.

    Raises:
        InputError: both are given.
    """
    if masks and is_automatic:
        raise InputError(
            "masks of what is in front of the face are given, and it is also to be found: choose one of both"
        )
    return AUTO if is_automatic else masks or None
