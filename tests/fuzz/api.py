"""Requests that nobody's page would send, to a running app with tiny networks."""

import atexit
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from hypothesis import strategies as st

from latentsync.app.app_folders import APP_FOLDER
from latentsync.app.lipsync_service import LipsyncService
from latentsync.app.server import ServerSettings, serving
from latentsync.jobs.limits import Limits
from latentsync.pipelines.options import LipsyncOptions
from latentsync.storage.temporary_files import temporary_folder
from latentsync.weights import REPOSITORY_ROOT
from tests.fuzz.harness import CASES, Outcome, contents
from tests.fuzz.hostile_files import damaged
from tests.tiny_pipeline import tiny_pipeline

_PATIENCE_S = 60.0
_NAMES = ("lipsync", "people", "cancel", "unknown", "", "../config", "0", "lipsync/")


@dataclass(frozen=True)
class Target:
    """A running app, and the folder of the user that it was told to work in."""

    client: httpx.Client
    folder: Path


@cache
def target(example: bytes) -> Target:
    """Starts the app, once; it ends with the process."""
    stack = ExitStack()
    folder = stack.enter_context(temporary_folder())
    (folder / "letter.txt").write_text("the user's")
    (folder / "example.mp4").write_bytes(example)
    options = LipsyncOptions(num_inference_steps=1, compare=True)
    service = LipsyncService(
        tiny_pipeline(), None, options, "tiny", Limits(max_seconds=2, max_megabytes=1, max_side=300)
    )
    settings = ServerSettings(
        port=0, work_dir=folder, example_video=folder / "example.mp4", example_speech=folder / "example.mp4"
    )
    served = stack.enter_context(serving(service, settings))
    atexit.register(stack.close)
    return Target(stack.enter_context(httpx.Client(base_url=served.url, timeout=_PATIENCE_S)), folder)


def request(example: bytes, method: str, path: str, body: dict[str, Any]) -> None:
    """Sends one request; the answer is whole, tells nothing of the server, and nothing of the user's is touched."""
    app = target(example)
    answer = app.client.request(method, path, **body)
    text = answer.text
    if answer.status_code == 200 and "/call/" in path and "event_id" in text:
        event = answer.json()["event_id"]
        text += app.client.get(f"{path.rstrip('/')}/{event}").text
    if answer.status_code == 200:  # gradio's protocol calls uploads and results by their paths
        text = text.replace(str(app.folder / APP_FOLDER / "uploads"), "")
    for secret in (str(app.folder), str(REPOSITORY_ROOT), "Traceback", "the user's"):
        assert secret not in text, (method, path, text[:2000])
    users = {name: known for name, known in contents(app.folder).items() if "/" not in name and known != "no file"}
    assert set(users) == {"letter.txt", "example.mp4"}, users
    CASES.add("API", Outcome(answer.status_code, "", ""))


def _values() -> st.SearchStrategy[Any]:
    files = st.sampled_from(["/etc/passwd", "letter.txt", "../../letter.txt", "http://127.0.0.1:1/a", "a\0b", ""]).map(
        lambda path: {"path": path, "meta": {"_type": "gradio.FileData"}, "orig_name": "x.mp4"}
    )
    plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    return files | st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)


def cases(example: Callable[[], bytes]) -> st.SearchStrategy[Callable[[], None]]:
    """Strategy of requests to the routes that the page uses."""
    names = st.sampled_from(_NAMES)
    data = st.lists(_values(), max_size=14)
    payload = st.builds(
        lambda row, session, number: {"json": {"data": row, "session_hash": session, "fn_index": number}},
        data, st.sampled_from(["a", "", "../b"]) | st.text(max_size=8), st.integers(-2, 9) | st.none(),
    )  # fmt: skip
    raw = st.binary(max_size=200).map(lambda content: {"content": content})
    json_text = _values().map(
        lambda value: {"content": json.dumps(value), "headers": {"content-type": "application/json"}}
    )
    upload = st.builds(
        lambda name, content: {"files": {"files": (name, content)}},
        st.sampled_from(["film.mp4", "../letter.txt", "a/b.wav", "n" * 300, "letter.txt", ""]),
        damaged(lambda: [example()]),
    )
    called = st.builds(lambda kind, name: f"/gradio_api/{kind}/{name}", st.sampled_from(["run", "call", "api"]), names)
    other = st.sampled_from(
        ["/gradio_api/queue/join", "/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/component_server"]
    )
    asked = st.sampled_from(
        ["/gradio_api/file=letter.txt", "/gradio_api/file=/etc/passwd", "/gradio_api/file/letter.txt", "/config",
         "/gradio_api/file=../letter.txt", "/gradio_api/proxy=http://127.0.0.1:1/", "/gradio_api/info",
         "/file=/etc/passwd",
         "/gradio_api/upload_progress?upload_id=a", "/gradio_api/queue/status", "/gradio_api/heartbeat"]
    )  # fmt: skip
    posts = st.tuples(st.just("POST"), called | other, payload | raw | json_text)
    uploads = st.tuples(st.just("POST"), st.just("/gradio_api/upload"), upload | raw)
    reads = st.tuples(st.sampled_from(["GET", "HEAD", "PUT", "DELETE"]), asked, st.just({}))
    return (posts | uploads | reads).map(lambda chosen: lambda: request(example(), *chosen))
