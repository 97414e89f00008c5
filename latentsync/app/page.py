"""The page: gradio components and events. The same events form the API."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio_client.utils import is_http_url_like

from latentsync.app.adapt_tab import AdaptTab
from latentsync.app.lipsync_service import SERVER_WEIGHTS, LipsyncOutcome, Sessions
from latentsync.app.page_events import Update, event_error, finite_number, given_path, integer
from latentsync.app.page_text import CANCELLED, error_html, status_html, summary_markdown
from latentsync.app.sampling_controls import SamplingControls
from latentsync.app.scene_controls import SceneControls, occluder_option, yaw_option
from latentsync.app.voice_rows import VoiceRows, speech_uploads
from latentsync.errors import InputError
from latentsync.jobs.job import Job, JobState
from latentsync.jobs.visible_text import error_line, without_paths
from latentsync.pipelines.options import VIDEO_FPS, LipsyncOptions

logger = logging.getLogger(__name__)

TITLE = "LatentSync"
CSS = """
.job-status { padding: 0.4em 0; font-size: 1.05em; }
.job-status[data-state="failed"] { color: #b91c1c; font-weight: 600; }
.job-status .bar { height: 8px; border-radius: 4px; background: var(--border-color-primary); margin-top: 0.4em; }
.job-status .bar div { height: 100%; border-radius: 4px; background: var(--color-accent); transition: width 0.3s; }
#people .caption-label { white-space: normal; max-width: 100%; }
#adapt_summary th, #adapt_summary td { word-break: normal; overflow-wrap: normal; }
"""
# The id of the last job belongs to the browser tab and survives a reload.
_REMEMBER = "(id) => { if (id) sessionStorage.setItem('latentsync_job', id); return []; }"
_RECALL = "() => [sessionStorage.getItem('latentsync_job') || '']"

_INTRODUCTION = """# LatentSync
Upload a video of a person and a speech: the lips follow the speech. Use it only with faces of people who agreed to it,
and label the result as generated.
"""

UNUSABLE = "these inputs cannot be used: see the description of the API for what each takes, and upload files first"


class GuardedBlocks(gr.Blocks):
    """gradio's page, restricted: files come by upload only, and errors are one line without paths of the server.

    gradio itself downloads an address that is given as a file, and shows visitors the text of any exception.
    """

    async def process_api(self, *arguments: Any, **settings: Any) -> dict[str, Any]:
        """Process an event of the page or the API; see gradio."""
        try:
            return await super().process_api(*arguments, **settings)
        except gr.Error as error:
            error.message = without_paths(error.message)
            raise
        except Exception as error:
            raise event_error(error_line(error)) from error

    async def preprocess_data(self, block_fn, inputs: list[Any], state, explicit_call: bool = False):
        """Read the inputs of an event; errors here are errors in the request."""
        if names_address(inputs):
            raise event_error("addresses are not fetched here: download the file and upload it")
        try:
            return await super().preprocess_data(block_fn, inputs, state, explicit_call)
        except gr.Error:
            raise
        except Exception as error:
            logger.info("inputs were refused: %s", error)
            raise event_error(UNUSABLE) from error


def names_address(data: Any) -> bool:
    """Return True if the data of an event contain a file given by its address."""
    if isinstance(data, dict):
        return is_http_url_like(str(data.get("path", ""))) or any(names_address(value) for value in data.values())
    return isinstance(data, (list, tuple)) and any(names_address(value) for value in data)


@dataclass(frozen=True)
class Example:
    """The bundled video and speech."""

    video: Path
    speech: Path


def build_page(sessions: Sessions, example: Example) -> gr.Blocks:
    """Build the page; `latentsync.app.server` serves it."""
    return _Page(sessions, example).build()


class _Page:
    """Components and events of the page; `Sessions` handles files and jobs."""

    def __init__(self, sessions: Sessions, example: Example) -> None:
        self.sessions, self.example = sessions, example
        self.sampling = SamplingControls(sessions.service)
        self.scene = SceneControls(sessions.service)
        self.adapt_tab = AdaptTab(sessions)
        self.voices = VoiceRows()

    def build(self) -> gr.Blocks:
        """Create the components and connect the events."""
        with GuardedBlocks(title=TITLE, analytics_enabled=False) as blocks:
            gr.Markdown(f"{_INTRODUCTION}\nWeights: {escape(self.sessions.service.weights)}. {self._limits_line()}")
            with gr.Tabs():
                with gr.Tab("Lip-sync"), gr.Row():
                    with gr.Column():
                        self._inputs()
                    with gr.Column():
                        self._outputs()
                if self.sessions.adapter is not None:
                    with gr.Tab("Adapt to a person"):
                        self.adapt_tab.build()
            self._wire(blocks)
            if self.sessions.adapter is not None:
                self.adapt_tab.wire(blocks)
        return blocks

    def _limits_line(self) -> str:
        limits = self.sessions.service.limits
        return (
            f"At most {limits.max_seconds:g} s of speech, {limits.max_megabytes:g} MB per file, "
            f"{limits.max_side} pixels per side."
        )

    def _inputs(self) -> None:
        defaults = self.sessions.service.defaults
        with gr.Row():
            self.video = gr.Video(label="Video", sources=["upload"], height=260, elem_id="video")
            self.speech = gr.Audio(
                label="Speech", sources=["upload", "microphone"], type="filepath", buttons=[], elem_id="speech"
            )
        self.example_button = gr.Button("Use the example", size="sm", elem_id="example")
        self.weights = self.adapt_tab.add_weights()
        self.sampling.add_main()
        with gr.Accordion("Whom to follow", open=False):
            self.people_button = gr.Button("Look for people in the video, then click one", size="sm", elem_id="look")
            self.people = gr.Gallery(
                label="People",
                show_label=False,
                columns=3,
                fit_columns=False,
                object_fit="contain",
                height=200,
                allow_preview=False,
                interactive=False,
                buttons=[],
                elem_id="people",
            )
            self.selectors = gr.State([])
            self.face = gr.Textbox(
                defaults.face,
                label="Face",
                info="largest, left, right, an index from the left, x,y in pixels, person1 (found above), "
                "all (same speech), or speaker",
                max_lines=1,
                max_length=40,
                elem_id="face",
            )
        with gr.Accordion("One voice per person", open=False, elem_id="voices"):
            self.voices.build()
        with gr.Accordion("Silence, length, things in front of the mouth", open=False, elem_id="scene"):
            self.scene.build()
        with gr.Accordion("Advanced", open=False):
            self.seed = gr.Number(defaults.seed, label="Seed", precision=0, minimum=0)
            self.video_fps = gr.Radio(list(VIDEO_FPS), value=defaults.video_fps, label="Frames per second")
            self.sampling.add_advanced()

    def _outputs(self) -> None:
        with gr.Row():
            self.run_button = gr.Button("Make the video", variant="primary", elem_id="run")
            self.cancel_button = gr.Button("Cancel", variant="stop", elem_id="cancel")
        self.status = gr.HTML(elem_id="status")
        with gr.Tabs():
            with gr.Tab("Result"):
                self.result = gr.Video(label="Result", interactive=False, height=380, elem_id="result")
            with gr.Tab("Side by side"):
                self.comparison = gr.Video(label="Source and result", interactive=False, height=380, elem_id="compare")
            with gr.Tab("Frames"):
                self.sheet = gr.Image(
                    label="Source above, result below",
                    type="filepath",
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    elem_id="sheet",
                )
            with gr.Tab("Timeline", visible=False) as self.timeline_tab:
                self.timeline = gr.Image(
                    label="What was done with each person when",
                    type="filepath",
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    elem_id="timeline",
                )
        self.summary = gr.Markdown(elem_id="summary")
        self.files = gr.Files(label="Download", interactive=False, height=250, elem_id="files")
        self.job_id = gr.Textbox(visible="hidden", elem_id="job", label="Job")

    def _wire(self, blocks: gr.Blocks) -> None:
        sampling = self.sampling
        options = [sampling.steps, sampling.guidance, self.seed, sampling.scheduler, self.face, self.video_fps]
        options += [sampling.overlap, sampling.exact, sampling.spacing, sampling.guided_from, sampling.guided_to]
        options.append(self.weights)
        outputs = [self.result, self.comparison, self.sheet, self.summary, self.files, self.status, self.job_id]
        follow: dict[str, Any] = dict(show_progress="hidden", concurrency_limit=None)
        self.run_button.click(
            self.lipsync,
            [self.video, self.speech, *options, *self.voices.inputs, *self.scene.inputs],
            outputs,
            api_name="lipsync",
            trigger_mode="once",
            **follow,
        )
        sampling.wire()
        found = [self.people, self.selectors, self.status, self.job_id]
        looked = self.people_button.click(
            self.look, [self.video], found, api_name="people", trigger_mode="once", **follow
        )
        self.cancel_button.click(
            self.cancel, [self.job_id], None, api_name="cancel", queue=False, show_progress="hidden"
        )
        private: dict[str, Any] = dict(api_visibility="private", show_progress="hidden")
        self.example_button.click(self.use_example, None, [self.video, self.speech], queue=False, **private)
        looked.success(self.show_voices, [self.job_id], self.voices.outputs, queue=False, **private)
        self.people.select(self.choose, [self.selectors], [self.face], queue=False, **private)
        forgotten = [self.people, self.selectors, self.face, *self.voices.outputs]
        self.video.change(self.forget_people, None, forgotten, queue=False, **private)
        self.weights.input(self.use_weights, [self.weights], sampling.filled, queue=False, **private)
        timeline = [self.timeline, self.timeline_tab]
        self.files.change(self.show_timeline, [self.job_id], timeline, queue=False, **private)
        self.job_id.change(None, [self.job_id], None, js=_REMEMBER, api_visibility="private")
        blocks.load(self.resume, [self.job_id], outputs, js=_RECALL, concurrency_limit=None, **private)

    async def lipsync(
        self,
        video: str | None,
        speech: str | None = None,
        steps: float = 20,
        guidance: float = 1.5,
        seed: float = 1247,
        scheduler: str = "ddim",
        face: str = "largest",
        video_fps: str = "25",
        overlap: float = 4,
        exact: bool = False,
        timestep_spacing: str = "leading",
        guided_from: float = 0.0,
        guided_to: float = 1.0,
        weights: str = SERVER_WEIGHTS,
        face_1: str | None = None,
        speech_1: str | None = None,
        face_2: str | None = None,
        speech_2: str | None = None,
        face_3: str | None = None,
        speech_3: str | None = None,
        face_4: str | None = None,
        speech_4: str | None = None,
        sound: str | None = None,
        silence: str = "off",
        sync_mode: str = "bounce",
        max_yaw: float = 90,
        occluder: str | None = None,
        find_occluders: bool = False,
    ) -> AsyncGenerator[list[Update], None]:
        """Generate a video whose lips follow the speech, or those of several people each their own."""
        nothing = [None, None, None, "", None]
        try:
            interval = (finite_number("guided_from", guided_from), finite_number("guided_to", guided_to))
            options = LipsyncOptions(
                num_inference_steps=integer("steps", steps),
                guidance_scale=finite_number("guidance", guidance),
                seed=integer("seed", seed),
                scheduler=scheduler,
                face=(face or "").strip() or "largest",
                video_fps=video_fps,
                overlap_frames=0 if exact else integer("overlap", overlap),
                timestep_spacing="leading" if exact else timestep_spacing,
                guidance_interval=(0.0, 1.0) if exact else interval,
                exact=bool(exact),
                silence=silence,
                sync_mode=sync_mode,
                max_yaw=yaw_option(finite_number("max_yaw", max_yaw)),
                occluder=occluder_option(occluder, find_occluders),
            )
            rows = (face_1, speech_1, face_2, speech_2, face_3, speech_3, face_4, speech_4)
            files = (given_path(video), speech_uploads(speech, rows, sound))
            job = await asyncio.to_thread(self.sessions.start_lipsync, *files, options, weights or SERVER_WEIGHTS)
        except InputError as error:
            yield [*nothing, error_html(str(error)), ""]
            raise event_error(str(error)) from error
        yield [*nothing, gr.skip(), job.id]
        async for update in self.follow(job):
            yield update

    async def follow(self, job: Job) -> AsyncGenerator[list[Update], None]:
        """Yield the status line of a job until it has ended, then its result."""
        async for view in self.sessions.follow(job):
            if view.state is not JobState.DONE:
                yield [*[gr.skip()] * 5, status_html(view), job.id]
        view = job.view()
        if view.state is JobState.DONE and isinstance(job.result, LipsyncOutcome):
            yield [*_outcome(job.result), status_html(view), job.id]
        else:
            raise event_error(view.error or CANCELLED)

    async def resume(self, job_id: str) -> AsyncGenerator[list[Update], None]:
        """After a reload, follow the last job of the tab, or show its result again."""
        job = self.sessions.find(job_id or "")
        is_shown = isinstance(job.result, LipsyncOutcome) and job.result.video.is_file() if job else False
        if job is None or (job.state.is_over and not is_shown):
            yield [gr.skip()] * 7
            return
        async for update in self.follow(job):
            yield update

    def show_timeline(self, job_id: str) -> list[Update]:
        """Show the timeline of a finished job, and its tab if there is one."""
        job = self.sessions.find(job_id or "")
        outcome = job.result if job is not None else None
        timeline = outcome.timeline if isinstance(outcome, LipsyncOutcome) else None
        return [None if timeline is None else str(timeline), gr.update(visible=timeline is not None)]

    async def look(self, video: str | None) -> AsyncGenerator[list[Update], None]:
        """Find the people of a video; return images with captions, and their selectors."""
        try:
            job = await asyncio.to_thread(self.sessions.start_people, given_path(video))
        except InputError as error:
            yield [None, [], error_html(str(error)), ""]
            raise event_error(str(error)) from error
        async for view in self.sessions.follow(job):
            if view.state is not JobState.DONE:
                yield [None, [], status_html(view), job.id]
        if job.state is not JobState.DONE:
            raise event_error(job.error or CANCELLED)
        images = [(str(path), person.caption) for person, path in job.result]
        yield [images, [person.selector for person, _ in job.result], status_html(job.view()), job.id]

    def show_voices(self, job_id: str) -> list[Update]:
        """Show a row for each person that a job found."""
        job = self.sessions.queue.find(job_id or "")
        return self.voices.shown(job.result if job is not None and isinstance(job.result, list) else [])

    def cancel(self, job_id: str) -> None:
        """Cancel a job and remove its files."""
        self.sessions.queue.cancel(job_id or "")

    def use_example(self) -> list[str]:
        """Return the bundled video and speech."""
        return [str(self.example.video), str(self.example.speech)]

    def use_weights(self, weights: str) -> list[Update]:
        """Set the sampling to the default of the chosen weights."""
        service = self.sessions.service
        if weights == SERVER_WEIGHTS or service.adapted is None:
            return self.sampling.values_of(service.defaults)
        try:
            options = service.adapted.options(self.sessions.adaptation(weights).folder)
        except InputError as error:
            raise event_error(str(error)) from error
        return self.sampling.values_of(options)

    def choose(self, selectors: list[str], event: gr.SelectData) -> str:
        """Return the selector of the selected person."""
        index = event.index if isinstance(event.index, int) else event.index[0]
        return selectors[index] if index < len(selectors) else "largest"

    def forget_people(self) -> list[Update]:
        """Reset the people after a change of the video."""
        return [None, [], self.sessions.service.defaults.face, *self.voices.shown([])]


def _outcome(outcome: LipsyncOutcome) -> list[Update]:
    return [
        str(outcome.video),
        str(outcome.comparison),
        str(outcome.sheet),
        summary_markdown(outcome.sync, outcome.lines),
        [str(path) for path in outcome.files],
    ]
