"""The tab of the page that adapts the weights to a person, and the list of weights that its results join."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gradio as gr

from latentsync.adaptation.audio_modes import AUDIO_MODES
from latentsync.adaptation.report import ROWS
from latentsync.app.adapt_service import AdaptOutcome, AdaptRequest, TrainingView
from latentsync.app.lipsync_service import SERVER_WEIGHTS, Sessions
from latentsync.app.page_events import Update, event_error, finite_number, given_path
from latentsync.app.page_text import CANCELLED, error_html, report_markdown, status_html
from latentsync.errors import InputError
from latentsync.jobs.job import Job, JobState

_CONSENT = """Upload a video of one person, who looks and speaks as in the video that you will dub, for at least three
seconds; the video to be dubbed itself is the best one. The weights are trained further on it, so that the generated
mouth gets the lips, the skin and the beard of this person.

**Adapt only to people who agreed to it.** The weights reproduce their face. Video and weights stay on this server, and
only you can choose them. They are deleted after {hours:g} hours, or when you close the page before the end.
"""
# Adaptations belong to the browser tab and survive a reload.
_REMEMBER = """(id) => {
    const key = 'latentsync_adaptations';
    const ids = (sessionStorage.getItem(key) || '').split(',').filter((known) => known && known !== id);
    if (id) sessionStorage.setItem(key, [...ids, id].slice(-20).join(','));
    return [];
}"""
_RECALL = "() => [sessionStorage.getItem('latentsync_adaptations') || '']"


class AdaptTab:
    """Components and events of the tab, and the list of weights in the tab of the lip-sync."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions

    def add_weights(self) -> gr.Dropdown:
        """Create the list of weights."""
        self.weights = gr.Dropdown(
            self.choices([]),
            value=SERVER_WEIGHTS,
            label="Weights",
            info="of this server, or adapted to a person in the other tab",
            allow_custom_value=True,  # ids of the API; unknown ones are refused
            visible=self.sessions.adapter is not None,
            elem_id="weights",
        )
        return self.weights

    def build(self) -> None:
        """Create the components of the tab."""
        hours = self.sessions.folders.keep_seconds / 3600
        gr.Markdown(_CONSENT.format(hours=hours), elem_id="consent")
        with gr.Row():
            with gr.Column():
                self._inputs()
            with gr.Column():
                self._outputs()

    def _inputs(self) -> None:
        maximum = self.sessions.service.limits.max_minutes
        self.video = gr.Video(label="Video of one person", sources=["upload"], height=260, elem_id="adapt_video")
        self.minutes = gr.Slider(
            maximum / 20, maximum, maximum, step=maximum / 20, label="Minutes of training", elem_id="adapt_minutes"
        )
        self.audio = gr.Radio(
            list(AUDIO_MODES),
            value="auto",
            label="Audio to train with",
            info="own: of the video; both: in half of the windows recorded speech that moves a mouth as it does; "
            "pseudo: recorded speech for the mouths in the frames; auto: both if the lips fit the sound, else pseudo",
        )
        self.face = gr.Textbox(
            "only",
            label="Face",
            info="only (one person), largest, left, right, an index from the left, or x,y in pixels",
            max_lines=1,
            max_length=40,
            elem_id="adapt_face",
        )

    def _outputs(self) -> None:
        with gr.Row():
            self.start_button = gr.Button("Adapt", variant="primary", elem_id="adapt")
            self.finish_button = gr.Button("Stop early and use it", elem_id="adapt_finish")
            self.cancel_button = gr.Button("Cancel", variant="stop", elem_id="adapt_cancel")
        self.status = gr.HTML(elem_id="adapt_status")
        shown: dict[str, Any] = dict(type="filepath", interactive=False, show_label=False)
        with gr.Accordion("Training: its loss, and frames that are not trained on (the video above, generated below)"):
            self.preview = gr.Image(**shown, buttons=["fullscreen"], height=140, elem_id="adapt_preview")
            self.chart = gr.Image(**shown, buttons=["fullscreen"], height=220, elem_id="adapt_chart")
        self.summary = gr.Markdown(elem_id="adapt_summary")
        with gr.Accordion(ROWS):
            self.sheet = gr.Image(**shown, buttons=["download", "fullscreen"], elem_id="adapt_sheet")
        self.job_id = gr.Textbox(visible="hidden", elem_id="adapt_job", label="Job")
        self.known = gr.State([])

    def wire(self, blocks: gr.Blocks) -> None:
        """Connect the events; those with a name are the API."""
        outputs = [self.chart, self.preview, self.summary, self.sheet, self.status, self.job_id]
        outputs += [self.weights, self.known]
        quiet: dict[str, Any] = dict(show_progress="hidden")
        inputs = [self.video, self.minutes, self.audio, self.face, self.known]
        self.start_button.click(
            self.adapt, inputs, outputs, api_name="adapt", trigger_mode="once", concurrency_limit=None, **quiet
        )
        self.finish_button.click(self.finish, [self.job_id], None, api_name="stop_early", queue=False, **quiet)
        self.cancel_button.click(self.cancel, [self.job_id], None, api_visibility="private", queue=False, **quiet)
        private: dict[str, Any] = dict(api_visibility="private", **quiet)
        self.job_id.change(None, [self.job_id], None, js=_REMEMBER, api_visibility="private")
        blocks.load(self.resume, [self.job_id], outputs, js=_RECALL, concurrency_limit=None, **private)

    def choices(self, known: list[str]) -> list[tuple[str, str]]:
        """Return names and values of the weights that a visitor can choose."""
        found = [(self.sessions.service.weights, SERVER_WEIGHTS)]
        for job_id in known:
            with suppress(InputError):  # its files were removed, or it has not ended
                found.append((self.sessions.adaptation(job_id).name, job_id))
        return found

    async def adapt(
        self,
        video: str | None,
        minutes: float = 10,
        audio: str = "auto",
        face: str = "only",
        known: list[str] | None = None,
    ) -> AsyncGenerator[list[Update], None]:
        """Adapt the weights to the person of a video; the job's id is a value for `weights` of `/lipsync`."""
        try:
            request = AdaptRequest(finite_number("minutes", minutes), audio, (face or "").strip() or "only")
            job = await asyncio.to_thread(self.sessions.start_adapt, given_path(video), request)
        except InputError as error:
            yield [None, None, "", None, error_html(str(error)), "", gr.skip(), gr.skip()]
            raise event_error(str(error)) from error
        yield [None, None, "", None, gr.skip(), job.id, gr.skip(), gr.skip()]
        async for update in self.follow(job, [*(known or []), job.id]):
            yield update

    async def follow(self, job: Job, known: list[str]) -> AsyncGenerator[list[Update], None]:
        """Yield progress, losses and previews of a job until it has ended, then its result."""
        shown: list[Path | None] = [None, None]
        async for view in self.sessions.follow(job):
            live: TrainingView | None = job.live
            newest = list(shown) if live is None else [live.chart, live.preview]
            images = [gr.skip() if new == old else str(new) for new, old in zip(newest, shown, strict=True)]
            status = [gr.skip()] * 2 if view.state is JobState.DONE else [status_html(view), job.id]
            yield [*images, gr.skip(), gr.skip(), *status, gr.skip(), gr.skip()]
            shown = newest
        if job.state is not JobState.DONE:
            raise event_error(job.error or CANCELLED)
        yield [*[gr.skip()] * 2, *self._result(job), *self._weights(known)]

    def _result(self, job: Job) -> list[Update]:
        outcome: AdaptOutcome = job.result
        summary = report_markdown(outcome.report.lines(), outcome.report.table())
        return [summary, str(outcome.sheet), status_html(job.view()), job.id]

    def _weights(self, known: list[str]) -> list[Update]:
        return [gr.update(choices=self.choices(known)), known]

    async def resume(self, ids: str) -> AsyncGenerator[list[Update], None]:
        """After a reload, list the adaptations of the tab again, and follow the last one or show its result."""
        known = [job_id for job_id in (ids or "").split(",") if job_id]
        yield [*[gr.skip()] * 6, *self._weights(known)]
        job = self.sessions.queue.find(known[-1]) if known else None
        is_there = len(self.choices(known[-1:])) == 2
        if job is not None and (not job.state.is_over or is_there):
            async for update in self.follow(job, known):
                yield update

    def finish(self, job_id: str) -> None:
        """End the training of a job with its next step, and use its result."""
        self.sessions.queue.finish(job_id or "")

    def cancel(self, job_id: str) -> None:
        """Cancel a job and remove its files."""
        self.sessions.queue.cancel(job_id or "")
