"""The page: gradio's components and which event does what. The same events are the API."""

import asyncio
import math
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from latentsync.app.guarded_blocks import GuardedBlocks
from latentsync.app.job import Job, JobState
from latentsync.app.sessions import Sessions
from latentsync.app.status_line import CANCELLED, error_html, status_html
from latentsync.app.studio import LipsyncOutcome
from latentsync.app.summary import summary_markdown
from latentsync.errors import InputError
from latentsync.pipelines.options import SCHEDULERS, VIDEO_FPS, LipsyncOptions

TITLE = "LatentSync"
CSS = """
.job-status { padding: 0.4em 0; font-size: 1.05em; }
.job-status[data-state="failed"] { color: #b91c1c; font-weight: 600; }
.job-status .bar { height: 8px; border-radius: 4px; background: var(--border-color-primary); margin-top: 0.4em; }
.job-status .bar div { height: 100%; border-radius: 4px; background: var(--color-accent); transition: width 0.3s; }
"""
# What belongs to a tab and outlives its reload: the id of its last job.
_REMEMBER = "(id) => { if (id) sessionStorage.setItem('latentsync_job', id); return []; }"
_RECALL = "() => [sessionStorage.getItem('latentsync_job') || '']"

_INTRODUCTION = """# LatentSync
Give a video of a person and a speech: the lips follow the speech. Use it only with faces of people who agreed to it,
and say that the result was made.
"""

Update = Any
"""What gradio takes for one component: a value, or `gr.skip()`."""


@dataclass(frozen=True)
class Example:
    """The bundled video and speech, where the page can read them."""

    video: Path
    speech: Path


def build_page(sessions: Sessions, example: Example) -> gr.Blocks:
    """The page over loaded sessions; see `latentsync.app.server` for how it is served."""
    return _Page(sessions, example).build()


class _Page:
    """Builds the page and holds its events; files and jobs are the sessions' business."""

    def __init__(self, sessions: Sessions, example: Example) -> None:
        self.sessions, self.example = sessions, example

    def build(self) -> gr.Blocks:
        """Lays out the components and wires them."""
        with GuardedBlocks(title=TITLE, analytics_enabled=False) as blocks:
            gr.Markdown(f"{_INTRODUCTION}\nWeights: {escape(self.sessions.studio.weights)}. {self._limits_line()}")
            with gr.Row():
                with gr.Column():
                    self._inputs()
                with gr.Column():
                    self._outputs()
            self._wire(blocks)
        return blocks

    def _limits_line(self) -> str:
        limits = self.sessions.studio.limits
        return (
            f"At most {limits.max_seconds:g} s of speech, {limits.max_megabytes:g} MB a file, "
            f"{limits.max_side} pixels a side."
        )

    def _inputs(self) -> None:
        defaults = self.sessions.studio.defaults
        with gr.Row():
            self.video = gr.Video(label="Video", sources=["upload"], height=260, elem_id="video")
            self.speech = gr.Audio(
                label="Speech", sources=["upload", "microphone"], type="filepath", buttons=[], elem_id="speech"
            )
        self.example_button = gr.Button("Use the example", size="sm", elem_id="example")
        self.steps = gr.Slider(
            1,
            self.sessions.studio.limits.max_steps,
            defaults.num_inference_steps,
            step=1,
            label="Steps",
            info="more: cleaner and slower",
            elem_id="steps",
        )
        self.guidance = gr.Slider(
            1, 5, defaults.guidance_scale, step=0.1, label="Guidance", info="more: stronger lip motion"
        )
        with gr.Accordion("Whom to follow", open=False):
            self.people_button = gr.Button("Look for people in the video", size="sm", elem_id="look")
            self.people = gr.Gallery(
                label="Click a person",
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
                info="largest, left, right, an index from the left, or x,y in pixels",
                max_lines=1,
                max_length=40,
                elem_id="face",
            )
        with gr.Accordion("Advanced", open=False):
            self.seed = gr.Number(defaults.seed, label="Seed", precision=0, minimum=0)
            self.scheduler = gr.Dropdown(list(SCHEDULERS), value=defaults.scheduler, label="Scheduler")
            self.video_fps = gr.Radio(list(VIDEO_FPS), value=defaults.video_fps, label="Frames per second")
            self.overlap = gr.Slider(
                0, 12, defaults.overlap_frames, step=1, label="Overlap", info="frames shared by neighbouring windows"
            )
            self.exact = gr.Checkbox(
                defaults.exact, label="Exact", info="the published behaviour; 25 frames per second, ddim, no overlap"
            )

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
        self.summary = gr.Markdown(elem_id="summary")
        self.files = gr.Files(label="Download", interactive=False, height=250, elem_id="files")
        self.job_id = gr.Textbox(visible="hidden", elem_id="job", label="Job")

    def _wire(self, blocks: gr.Blocks) -> None:
        options = [self.steps, self.guidance, self.seed, self.scheduler, self.face, self.video_fps, self.overlap]
        options.append(self.exact)
        shown = [self.result, self.comparison, self.sheet, self.summary, self.files, self.status, self.job_id]
        follow: dict[str, Any] = dict(show_progress="hidden", concurrency_limit=None)
        self.run_button.click(
            self.lipsync, [self.video, self.speech, *options], shown, api_name="lipsync", trigger_mode="once", **follow
        )
        found = [self.people, self.selectors, self.status, self.job_id]
        self.people_button.click(self.look, [self.video], found, api_name="people", trigger_mode="once", **follow)
        self.cancel_button.click(
            self.cancel, [self.job_id], None, api_name="cancel", queue=False, show_progress="hidden"
        )
        private: dict[str, Any] = dict(api_visibility="private", show_progress="hidden")
        self.example_button.click(self.use_example, None, [self.video, self.speech], queue=False, **private)
        self.people.select(self.choose, [self.selectors], [self.face], queue=False, **private)
        self.video.change(self.forget_people, None, [self.people, self.selectors, self.face], queue=False, **private)
        self.job_id.change(None, [self.job_id], None, js=_REMEMBER, api_visibility="private")
        blocks.load(self.resume, [self.job_id], shown, js=_RECALL, concurrency_limit=None, **private)

    async def lipsync(
        self,
        video: str | None,
        speech: str | None,
        steps: float = 20,
        guidance: float = 1.5,
        seed: float = 1247,
        scheduler: str = "ddim",
        face: str = "largest",
        video_fps: str = "25",
        overlap: float = 4,
        exact: bool = False,
    ) -> AsyncGenerator[list[Update], None]:
        """Makes the lips in the video follow the speech."""
        nothing = [None, None, None, "", None]
        try:
            options = LipsyncOptions(
                num_inference_steps=whole("steps", steps),
                guidance_scale=number("guidance", guidance),
                seed=whole("seed", seed),
                scheduler=scheduler,
                face=(face or "").strip() or "largest",
                video_fps=video_fps,
                overlap_frames=0 if exact else whole("overlap", overlap),
                exact=bool(exact),
            )
            job = await asyncio.to_thread(self.sessions.start_lipsync, _path(video), _path(speech), options)
        except InputError as error:
            yield [*nothing, error_html(str(error)), ""]
            raise _told(str(error)) from error
        yield [*nothing, gr.skip(), job.id]
        async for update in self.follow(job):
            yield update

    async def follow(self, job: Job) -> AsyncGenerator[list[Update], None]:
        """The status line of a job until it is over, then what it made."""
        async for view in self.sessions.follow(job):
            if view.state is not JobState.DONE:
                yield [*[gr.skip()] * 5, status_html(view), job.id]
        view = job.view()
        if view.state is JobState.DONE and isinstance(job.result, LipsyncOutcome):
            yield [*_outcome(job.result), status_html(view), job.id]
        else:
            raise _told(view.error or CANCELLED)

    async def resume(self, job_id: str) -> AsyncGenerator[list[Update], None]:
        """After a reload: goes on with the tab's last job, or shows again what it made."""
        job = self.sessions.queue.find(job_id or "")
        is_shown = isinstance(job.result, LipsyncOutcome) and job.result.video.is_file() if job else False
        if job is None or (job.state.is_over and not is_shown):
            yield [gr.skip()] * 7
            return
        async for update in self.follow(job):
            yield update

    async def look(self, video: str | None) -> AsyncGenerator[list[Update], None]:
        """Looks for the people of a video: pictures with captions, and their selectors."""
        try:
            job = await asyncio.to_thread(self.sessions.start_people, _path(video))
        except InputError as error:
            yield [None, [], error_html(str(error)), ""]
            raise _told(str(error)) from error
        async for view in self.sessions.follow(job):
            if view.state is not JobState.DONE:
                yield [None, [], status_html(view), job.id]
        if job.state is not JobState.DONE:
            raise _told(job.error or CANCELLED)
        pictures = [(str(path), f"{person.caption}: {person.selector}") for person, path in job.result]
        yield [pictures, [person.selector for person, _ in job.result], status_html(job.view()), job.id]

    def cancel(self, job_id: str) -> None:
        """Stops a job and removes what it wrote."""
        self.sessions.queue.cancel(job_id or "")

    def use_example(self) -> list[str]:
        """The bundled video and speech."""
        return [str(self.example.video), str(self.example.speech)]

    def choose(self, selectors: list[str], event: gr.SelectData) -> str:
        """The selector of the person clicked on."""
        index = event.index if isinstance(event.index, int) else event.index[0]
        return selectors[index] if index < len(selectors) else "largest"

    def forget_people(self) -> list[Update]:
        """Another video has other people."""
        return [None, [], self.sessions.studio.defaults.face]


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


def number(name: str, value: float | None) -> float:
    """A number of the page; InputError where the field is empty."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{name} is empty: give a number")
    return value


def whole(name: str, value: float | None) -> int:
    """A whole number of the page; InputError where the field is empty or has another."""
    given = number(name, value)
    if given != int(given):
        raise InputError(f"{name} is {given}: give a whole number")
    return int(given)


def _told(message: str) -> gr.Error:
    """What ends an event of the API in an error; the page has its own line already."""
    return gr.Error(message, visible=False, print_exception=False)


def _outcome(outcome: LipsyncOutcome) -> list[Update]:
    files = [outcome.video, outcome.comparison, outcome.sheet, outcome.summary]
    return [
        str(outcome.video),
        str(outcome.comparison),
        str(outcome.sheet),
        summary_markdown(outcome.verdict, outcome.lines),
        [str(path) for path in files],
    ]
