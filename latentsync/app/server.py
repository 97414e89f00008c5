"""Serves the page: where from, to whom, and with which of gradio's doors shut."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from latentsync.app.job_folders import JobFolders, default_work_dir
from latentsync.app.job_queue import JobQueue
from latentsync.app.sessions import Sessions
from latentsync.app.studio import Studio
from latentsync.errors import ConfigError, InputError
from latentsync.weights import REPOSITORY_ROOT

EXAMPLE_VIDEO = REPOSITORY_ROOT / "assets" / "demo1_video.mp4"
EXAMPLE_SPEECH = REPOSITORY_ROOT / "assets" / "demo1_audio.wav"


@dataclass(frozen=True)
class ServerSettings:
    """How the app is served.

    Attributes:
        host: address to listen at; only this machine unless asked otherwise.
        port: 0 takes any free one.
        share: whether gradio makes a public address, through its own servers.
        auth: user and password (`latentsync.app.credentials`), or None for nobody to ask.
        max_waiting: jobs that may wait while one runs.
        keep_hours: age at which files of jobs and uploads are removed.
        grace_seconds: a job whose page went away stops after so long.
        work_dir: any folder of the user; those files are in a subfolder.
        example_video, example_speech: the bundled example.

    Raises:
        ConfigError: a value is out of range.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    auth: tuple[str, str] | None = field(default=None, repr=False)
    max_waiting: int = 8
    keep_hours: float = 24.0
    grace_seconds: float = 30.0
    work_dir: Path = field(default_factory=default_work_dir)
    example_video: Path = EXAMPLE_VIDEO
    example_speech: Path = EXAMPLE_SPEECH

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ConfigError(f"port is {self.port}: it must lie between 0 and 65535")
        if not 0 <= self.max_waiting <= 1000:
            raise ConfigError(f"queue_size is {self.max_waiting}: it must lie between 0 and 1000")
        if not 0 < self.grace_seconds < float("inf"):
            raise ConfigError(f"grace_seconds is {self.grace_seconds}: it must be positive")


@dataclass(frozen=True)
class Served:
    """A running server.

    Attributes:
        url: where it is on this machine.
        share_url: where it is for everybody, if that was asked for.
        sessions: its jobs.
    """

    url: str
    share_url: str | None
    sessions: Sessions


def check_server(settings: ServerSettings) -> None:
    """Looks whether the app could be served, before anything is loaded; leaves nothing behind.

    Raises:
        InputError: the work folder is somebody else's or in use, or the port is taken.
    """
    JobFolders(settings.work_dir, settings.keep_hours).check_unused()
    if settings.port:
        try:
            with socket.socket(_family(settings.host)) as probe:
                if os.name == "posix":  # as the server does: a port that was just closed is free
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((settings.host, settings.port))
        except OSError as error:
            raise _port_error(settings) from error


@contextmanager
def serving(studio: Studio, settings: ServerSettings) -> Iterator[Served]:
    """Serves the page while the block inside runs; then jobs are stopped and the server is closed.

    Raises:
        InputError: the work folder or the port cannot be used.
    """
    with (
        JobFolders(settings.work_dir, settings.keep_hours) as folders,
        JobQueue(folders, settings.max_waiting) as queue,
        _gradio_environment(folders.uploads),
    ):
        from latentsync.app.page import Example, build_page

        sessions = Sessions(studio, queue, folders, settings.grace_seconds)
        blocks = build_page(sessions, Example(settings.example_video, settings.example_speech))
        blocks.queue(default_concurrency_limit=None)
        try:
            yield _launch(blocks, sessions, settings)
        finally:
            blocks.close(verbose=False)


@contextmanager
def _gradio_environment(uploads: Path) -> Iterator[None]:
    """gradio reads these variables all the time; they are put back in the end."""
    wanted = {
        "GRADIO_TEMP_DIR": str(uploads),
        "GRADIO_EXAMPLES_CACHE": str(uploads),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_ALLOWED_PATHS": "",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _launch(blocks, sessions: Sessions, settings: ServerSettings) -> Served:
    import gradio as gr
    from starlette.middleware import Middleware

    from latentsync.app.page import CSS
    from latentsync.app.route_guard import RouteGuard

    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    folders = sessions.folders
    guard = Middleware(
        RouteGuard,  # type: ignore[arg-type]
        needs_login=settings.auth is not None,
        may_be_read=folders.may_be_read,
    )
    try:
        _, url, share_url = blocks.launch(
            server_name=settings.host,
            server_port=settings.port or _free_port(settings.host),
            share=settings.share,
            auth=settings.auth,
            max_file_size=int(sessions.studio.limits.max_megabytes * 1024 * 1024),
            # What gradio may copy to the uploads; it would serve these too, but the guard does not let it.
            allowed_paths=[str(path) for path in (folders.jobs, settings.example_video, settings.example_speech)],
            app_kwargs={"middleware": [guard]},
            theme=theme,
            css=CSS,
            footer_links=["api"],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            inline=False,
            quiet=True,
            show_error=False,
            prevent_thread_lock=True,
        )
    except OSError as error:
        raise _port_error(settings) from error
    if settings.share and not share_url:
        raise InputError("gradio's servers gave no public address: check the internet connection, or leave out --share")
    return Served(url, share_url, sessions)


def _port_error(settings: ServerSettings) -> InputError:
    return InputError(f"cannot listen at {settings.host}, port {settings.port}: choose another --host or --port")


def _free_port(host: str) -> int:
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
