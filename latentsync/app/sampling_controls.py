"""The controls of the page that set the sampling, and the presets that fill them."""

from typing import Any

import gradio as gr

from latentsync.app.lipsync_service import LipsyncService
from latentsync.pipelines.options import SCHEDULERS, TIMESTEP_SPACINGS, LipsyncOptions

EXACT = "exact"
"""Preset that is selected together with the checkbox *Exact*."""


class SamplingControls:
    """Components for the sampling; a preset sets them all, and each can be changed afterwards."""

    def __init__(self, service: LipsyncService) -> None:
        self.service = service

    def add_main(self) -> None:
        """Create the controls that are always visible."""
        defaults = self.service.defaults
        self.preset = gr.Radio(
            list(self.service.presets),
            value=self.service.preset,
            label="Preset",
            info="sets the steps, the guidance and the sampling under Advanced",
            elem_id="preset",
        )
        self.steps = gr.Slider(
            1,
            self.service.limits.max_steps,
            defaults.num_inference_steps,
            step=1,
            label="Steps",
            info="more: cleaner and slower",
            elem_id="steps",
        )
        self.guidance = gr.Slider(
            1, 5, defaults.guidance_scale, step=0.1, label="Guidance", info="more: stronger lip motion"
        )

    def add_advanced(self) -> None:
        """Create the further controls."""
        defaults, (low, high) = self.service.defaults, self.service.defaults.guidance_interval
        self.scheduler = gr.Dropdown(list(SCHEDULERS), value=defaults.scheduler, label="Scheduler")
        self.spacing = gr.Radio(
            list(TIMESTEP_SPACINGS),
            value=defaults.timestep_spacing,
            label="Timestep spacing",
            info="trailing needs fewer steps",
        )
        self.guided_from = gr.Slider(0, 1, low, step=0.01, label="Guided from", info="timestep / 1000")
        self.guided_to = gr.Slider(0, 1, high, step=0.01, label="Guided to", info="timestep / 1000")
        self.overlap = gr.Slider(
            0, 12, defaults.overlap_frames, step=1, label="Overlap", info="frames shared by neighbouring windows"
        )
        self.exact = gr.Checkbox(
            defaults.exact,
            label="Exact",
            info="the published behaviour; 25 frames per second, ddim, leading, always guided, no overlap",
            elem_id="exact",
        )

    @property
    def filled(self) -> list[Any]:
        """The controls that a preset sets."""
        controls = [self.steps, self.guidance, self.scheduler, self.spacing, self.guided_from, self.guided_to]
        return [*controls, self.overlap]

    def wire(self) -> None:
        """Connect the events; the one of the preset is also the route `/preset` of the API."""
        filled = self.filled
        settings: dict[str, Any] = dict(show_progress="hidden", queue=False)
        self.preset.input(self.values, [self.preset], filled, api_name="preset", **settings)
        self.exact.input(
            self.values_if_exact, [self.exact], [self.preset, *filled], api_visibility="private", **settings
        )

    def values(self, preset: str) -> list[Any]:
        """Return steps, guidance, scheduler, timestep spacing, guided from, guided to and overlap of a preset."""
        return self.values_of(self.service.presets[preset])

    @staticmethod
    def values_of(options: LipsyncOptions) -> list[Any]:
        """Return the values of options, in the order of `filled`."""
        return [
            options.num_inference_steps,
            options.guidance_scale,
            options.scheduler,
            options.timestep_spacing,
            *options.guidance_interval,
            options.overlap_frames,
        ]

    def values_if_exact(self, exact: bool) -> list[Any]:
        """Return the preset `EXACT` and its values, or no changes if the checkbox was cleared."""
        return [EXACT, *self.values(EXACT)] if exact else [gr.skip()] * 8
