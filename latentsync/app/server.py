"""The server of the page: address, login, and the gradio settings that keep files private."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from latentsync.app.app_folders import AppFolders, default_work_dir
from latentsync.errors import ConfigError, InputError
from latentsync.storage.private_file import read_private_text
from latentsync.weights import REPOSITORY_ROOT

if TYPE_CHECKING:
    from latentsync.app.adapt_service import AdaptService
    from latentsync.app.lipsync_service import LipsyncService, Sessions

EXAMPLE_VIDEO = REPOSITORY_ROOT / "assets" / "demo1_video.mp4"
EXAMPLE_SPEECH = REPOSITORY_ROOT / "assets" / "demo1_audio.wav"

VARIABLE = "LATENTSYNC_AUTH"
TWO_WAYS = f"write user:password into a file for --auth_file, or into the environment variable {VARIABLE}"
"""The password is never an argument, since any local user can list the command lines of processes."""

_MAX_AUTH_BYTES = 4096


@dataclass(frozen=True)
class ServerSettings:
    """Settings of the server.

    Attributes:
        host: address to listen on; by default only this machine can connect.
        port: 0 selects a free port.
        share: create a public address through gradio's servers.
        auth: user and password (`credentials`); None for a page without login.
        max_waiting: maximum number of waiting jobs while one runs.
        keep_hours: age at which files of jobs and uploads are removed.
        grace_seconds: a job stops when its page was closed for this time.
        work_dir: any folder of the user; job files are stored in a subfolder.
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
            raise ConfigError(f"port is {self.port}: it must be between 0 and 65535")
        if not 0 <= self.max_waiting <= 1000:
            raise ConfigError(f"queue_size is {self.max_waiting}: it must be between 0 and 1000")
        if not 0 < self.grace_seconds < float("inf"):
            raise ConfigError(f"grace_seconds is {self.grace_seconds}: it must be positive")


@dataclass(frozen=True)
class Served:
    """A running server.

    Attributes:
        url: local address.
        share_url: public address, if requested.
        sessions: its jobs.
    """

    url: str
    share_url: str | None
    sessions: Sessions


def credentials(auth_file: Path | None, environment: MutableMapping[str, str] = os.environ) -> tuple[str, str] | None:
    """Return user and password from a file or the environment, or None for a page without login.

    Args:
        auth_file: file with one line ``user:password``; takes precedence over the environment.
        environment: `VARIABLE` is removed from it, so that child processes do not inherit the password.

    Raises:
        InputError: the file cannot be used or is readable by other users, or user or password is missing.
    """
    text = environment.pop(VARIABLE, None)
    if auth_file is not None:
        text_of_file = read_private_text(auth_file, _MAX_AUTH_BYTES, TWO_WAYS)
        return parse_credentials(text_of_file.rstrip("\r\n"), str(auth_file))
    return None if text is None else parse_credentials(text, VARIABLE)


def parse_credentials(text: str, source: str) -> tuple[str, str]:
    """Parse ``user:password``; the password may contain colons.

    Raises:
        InputError: one of them is empty, or there is more than one line; the message names the `source`, not the text.
    """
    user, _, password = text.partition(":")
    if not user.strip() or not password or not text.isprintable():
        raise InputError(f"{source} must contain user:password in one line, both not empty")
    return user.strip(), password  # gradio strips the user name of the login form


def check_server(settings: ServerSettings) -> None:
    """Check work folder and port before any network is loaded; leave nothing behind.

    Raises:
        InputError: the work folder belongs to another user or is in use, or the port is taken.
    """
    AppFolders(settings.work_dir, settings.keep_hours).check_unused()
    if settings.port:
        try:
            with socket.socket(_family(settings.host)) as probe:
                if os.name == "posix":  # as the server does: a port that was just closed counts as free
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((settings.host, settings.port))
        except OSError as error:
            raise _port_error(settings) from error


@contextmanager
def serving(service: LipsyncService, settings: ServerSettings, adapter: AdaptService | None = None) -> Iterator[Served]:
    """Serve the page while the block runs; then stop the jobs and close the server.

    Args:
        service: does the work.
        settings: of the server.
        adapter: adapts weights to people; without it the page has no tab for that.

    Raises:
        InputError: the work folder or the port cannot be used.
    """
    from latentsync.app.lipsync_request import LIPSYNC  # these import torch, which --help does without
    from latentsync.app.lipsync_service import LipsyncJobs
    from latentsync.jobs.queue import JobQueue

    with (
        AppFolders(settings.work_dir, settings.keep_hours) as folders,
        JobQueue(folders, settings.max_waiting, {LIPSYNC: LipsyncJobs(service, folders)}) as queue,
        _gradio_environment(folders.uploads),
    ):
        from latentsync.app.lipsync_service import Sessions
        from latentsync.app.page import Example, build_page

        sessions = Sessions(service, queue, folders, settings.grace_seconds, adapter)
        blocks = build_page(sessions, Example(settings.example_video, settings.example_speech))
        blocks.queue(default_concurrency_limit=None)
        try:
            yield _launch(blocks, sessions, settings)
        finally:
            queue.interrupt()  # before the requests end, so that no job counts as failed
            blocks.close(verbose=False)


@contextmanager
def _gradio_environment(uploads: Path) -> Iterator[None]:
    """Set the environment variables that gradio reads while it runs; restore them at the end."""
    values = {
        "GRADIO_TEMP_DIR": str(uploads),
        "GRADIO_EXAMPLES_CACHE": str(uploads),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "GRADIO_ALLOWED_PATHS": "",
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
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
            max_file_size=int(sessions.service.limits.max_megabytes * 1024 * 1024),
            # Files that gradio may copy to the uploads; it would also serve them, which the guard prevents.
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
        raise InputError("gradio's servers returned no public address: check the internet connection, or omit --share")
    return Served(url, share_url, sessions)


def _port_error(settings: ServerSettings) -> InputError:
    return InputError(f"cannot listen on {settings.host}, port {settings.port}: choose another --host or --port")


def _free_port(host: str) -> int:
    with socket.socket(_family(host)) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
