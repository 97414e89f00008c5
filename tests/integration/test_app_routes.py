"""Access control of the server with gradio's real routes and a login, without weights."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError, AuthenticationError

from latentsync.app.lipsync_service import LipsyncService
from latentsync.app.page import UNUSABLE, Example, build_page
from latentsync.app.route_guard import REFUSED, SERVED
from latentsync.app.server import Served, ServerSettings, serving
from latentsync.app.speech_uploads import SpeechUploads
from latentsync.errors import InputError
from latentsync.jobs.limits import Limits
from latentsync.jobs.visible_text import UNEXPECTED, without_paths
from latentsync.pipelines.options import LipsyncOptions
from latentsync.weights import REPOSITORY_ROOT

pytestmark = pytest.mark.slow

NOTES = "what the user wrote"
OPTIONS = (20, 1.5, 1247, "ddim", "largest", "25", 4, False, "leading", 0, 1, "server")
"""Arguments of the event `lipsync` after the two files."""
NO_VOICES = (None,) * 9
"""Face and speech of four people, and the sound."""
SCENE = ("off", "bounce", 90, None, False)
"""Silence, sync mode, largest yaw, masks, and whether things in front of the face are found."""


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("user")
    (folder / "notes.txt").write_text(NOTES)
    return folder


@pytest.fixture(scope="module")
def served(work_dir: Path) -> Iterator[Served]:
    service = LipsyncService(cast(Any, None), None, LipsyncOptions(), "demo", Limits(max_megabytes=1))
    with serving(service, ServerSettings(port=0, auth=("me", "secret"), work_dir=work_dir)) as served:
        yield served


@pytest.fixture(scope="module")
def routes(served: Served) -> set[str]:
    """Return the paths of all routes of gradio."""
    from gradio.routes import App

    video, speech = REPOSITORY_ROOT / "assets/demo1_video.mp4", REPOSITORY_ROOT / "assets/demo1_audio.wav"
    paths = set(paths_of(App.create_app(build_page(served.sessions, Example(video, speech))).routes))
    assert "/gradio_api/cancel" in paths
    return paths


def paths_of(routes: Iterable[Any]) -> Iterator[str]:
    """Yield the paths of routes and of included routers, which newer versions of FastAPI keep as routers."""
    for route in routes:
        router = getattr(route, "original_router", None)
        if router is None:
            yield route.path
        else:
            yield from paths_of(router.routes)


@contextmanager
def logged_in(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=60) as client:
        answer = client.post("/login", data={"username": "me", "password": "secret"})
        assert answer.status_code == 200
        yield client


def upload(visitor: httpx.Client, name: str, content: bytes) -> str:
    answer = visitor.post("/gradio_api/upload", files={"files": (name, content)})
    assert answer.status_code == 200
    return answer.json()[0]


def call(visitor: httpx.Client, name: str, *data: Any) -> str:
    """Call an event of the API and return the text of the response."""
    posted = visitor.post(f"/gradio_api/call/{name}", json={"data": list(data)})
    assert posted.status_code == 200, posted.text
    return visitor.get(f"/gradio_api/call/{name}/{posted.json()['event_id']}").text


def file_data(path: str) -> dict[str, Any]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def test_every_route_of_gradio_is_listed_as_served_or_refused(routes: set[str]):
    known = REFUSED | {route.path for route in SERVED}
    assert sorted(routes - known) == [], "decide about these in latentsync/app/route_guard.py"


def test_without_login_only_open_routes_answer(served: Served, routes: set[str]):
    open_paths = {route.path for route in SERVED if route.is_open}
    answered = set()
    with httpx.Client(base_url=served.url) as stranger:
        for route in routes:
            path = re.sub(r"\{[^}]*\}", "x", route)
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
                with stranger.stream(method, path) as answer:  # some responses never end
                    if answer.status_code not in (401, 403):
                        answered.add(route)
        assert stranger.post("/gradio_api/cancel", json={}).status_code == 401
        assert stranger.get("/gradio_api/heartbeat/x").status_code == 401
    assert answered <= open_paths


def test_a_wrong_or_forged_login_is_rejected(served: Served):
    assert httpx.post(f"{served.url}login", data={"username": "me", "password": "wrong"}).status_code == 400
    forged = {"cookie": "access-token-x=me; access-token-unsecure-=me"}
    assert httpx.get(f"{served.url}config", headers=forged).status_code == 401


def test_after_logging_out_the_session_is_over(served: Served):
    with logged_in(served) as client:
        kept = dict(client.cookies)
        assert client.get("/config").status_code == 200
        client.get("/logout")
        assert httpx.get(f"{served.url}config", cookies=kept).status_code == 401


FILES = ("/gradio_api/file=", "/gradio_api/file/", "/file=", "/file/", "/gradio_api/file%3D", "/gradio_api/file%2F",
         "/gradio_api//file=", "/GRADIO_API/FILE=", "/gradio_api/./file=", "/gradio_api/x/../file=")  # fmt: skip
PLACES = ("{user}/notes.txt", "{root}/.latentsync.json", "{root}/.latentsync.lock", "{root}/jobs.sqlite",
          "{root}/jobs/letter.txt", "{root}/uploads/letter.txt", "{root}/uploads/../../notes.txt",
          "{root}/uploads/%2e%2e/%2e%2e/notes.txt", "{link}", "/etc/passwd")  # fmt: skip


@pytest.mark.parametrize("route", FILES)
def test_only_uploads_are_served(served: Served, work_dir: Path, route: str):
    folders = served.sessions.folders
    for letter in (folders.jobs / "letter.txt", folders.uploads / "letter.txt"):
        letter.write_text(NOTES)
    link = folders.uploads / ("0b" * 32) / "link.txt"
    link.parent.mkdir(exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(work_dir / "notes.txt")
    with logged_in(served) as visitor:
        for place in PLACES:
            path = route + place.format(user=work_dir, root=folders.root, link=link)
            answer = visitor.get(httpx.URL(served.url).copy_with(raw_path=path.encode()))
            assert answer.status_code == 403, path
            assert NOTES not in answer.text


def test_an_upload_can_be_read_back(served: Served):
    with logged_in(served) as visitor:
        path = upload(visitor, "my film.mp4", b"film")
        assert visitor.get(f"/gradio_api/file={path}").content == b"film"
        assert httpx.get(f"{served.url}gradio_api/file={path}").status_code == 401


def without_server_paths(text: str, work_dir: Path) -> bool:
    return not any(str(path) in text for path in (work_dir, REPOSITORY_ROOT, Path(httpx.__file__).parents[1]))


def test_the_page_itself_names_no_file_of_the_server(served: Served, work_dir: Path):
    with logged_in(served) as visitor:
        for path in ("/", "/config", "/gradio_api/info", "/theme.css", "/manifest.json"):
            assert without_server_paths(visitor.get(path).text, work_dir), path


def test_messages_use_the_name_of_the_upload(served: Served):
    with logged_in(served) as visitor:
        path = upload(visitor, "my film.mp4", b"this is no film")
        answer = call(visitor, "people", file_data(path))
    assert "event: error" in answer
    assert "my film.mp4 is not a video or sound file that can be used: convert it to mp4 or wav" in answer
    assert without_paths(answer) == " ".join(answer.split())
    assert list(served.sessions.folders.jobs.glob("?" * 32)) == []


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ([file_data("/etc/passwd")], UNUSABLE),
        ([file_data("{root}/jobs.sqlite")], UNUSABLE),
        ([file_data("{root}/uploads/letter.txt")], "upload it again"),
        ([{"path": 3}], UNUSABLE),
        (["/etc/passwd"], UNUSABLE),
        ([file_data("https://127.0.0.1/x")], "addresses are not fetched"),
        ([None], "there is no video yet"),
        ([None, None], "Error|arguments|inputs"),
    ],
)
def test_invalid_inputs_are_one_line_without_paths(served: Served, data: list[Any], said: str):
    root = served.sessions.folders.root
    (root / "uploads" / "letter.txt").write_text(NOTES)
    given = json.loads(json.dumps(data).replace("{root}", str(root)))
    with logged_in(served) as visitor:
        answer = call(visitor, "people", *given)
    assert "event: error" in answer
    assert re.search(said, answer)
    assert without_paths(answer) == " ".join(answer.split())


def test_an_unexpected_error_is_logged_and_not_shown_to_visitors(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fail(job: object) -> None:
        raise RuntimeError("/secret/place: a bug")

    monkeypatch.setattr(served.sessions.queue, "submit", fail)
    with logged_in(served) as visitor:
        path = upload(visitor, "film.mp4", b"film")
        answer = call(visitor, "people", file_data(path))
        direct = visitor.post("/gradio_api/run/people", json={"data": [file_data(path)]})
    for text in (answer, direct.text):
        assert UNEXPECTED in text
        assert "secret" not in text
    assert "/secret/place: a bug" in caplog.text


def test_refused_requests_name_no_file_of_the_server(served: Served, work_dir: Path):
    with logged_in(served) as visitor:
        answers = [
            visitor.post("/gradio_api/call/absent", json={"data": []}),
            visitor.post("/gradio_api/call/people", json={"data": 3}),
            visitor.post("/gradio_api/queue/join", json={}),
            visitor.post("/gradio_api/upload", content=b"x"),
            visitor.post("/gradio_api/upload", files={"files": ("large.mp4", b"x" * (2 << 20))}),
            visitor.get("/static/absent/etc/passwd"),
            visitor.get(f"/gradio_api/file={work_dir}/notes.txt"),
        ]
    for answer in answers:
        assert 400 <= answer.status_code < 600, answer.url
        assert without_server_paths(answer.text, work_dir)


def test_gradio_runs_no_tool_on_an_upload(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Only the checks of the queue may: their number and the files that they open are limited."""
    for name in ("ffmpeg", "ffprobe"):
        tool = tmp_path / name
        tool.write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/called\nexit 1\n")
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(served.sessions, "start_lipsync", refuse)
    with logged_in(served) as visitor:
        film, speech = upload(visitor, "film.avi", b"film"), upload(visitor, "speech.amr", b"speech")
        answer = call(visitor, "lipsync", file_data(film), file_data(speech), *OPTIONS, *NO_VOICES, *SCENE)
        voices = ("left", file_data(speech), *NO_VOICES[2:])
        with_voices = call(visitor, "lipsync", file_data(film), None, *OPTIONS, *voices, *SCENE)
    assert "refused here" in answer
    assert "refused here" in with_voices
    assert not (tmp_path / "called").exists()


def test_the_client_of_the_api_logs_in_and_uploads(served: Served, tmp_path: Path):
    film = tmp_path / "my film.mp4"
    film.write_text("this is no film")
    with pytest.raises(AuthenticationError):
        Client(served.url, verbose=False)
    client = Client(served.url, verbose=False, auth=("me", "secret"))
    described: Any = client.view_api(return_format="dict")
    assert {"/lipsync", "/people", "/cancel"} <= set(described["named_endpoints"])
    with pytest.raises(AppError, match=r"^my film\.mp4 is not a video or sound file that can be used"):
        client.predict(handle_file(film), api_name="/people")
    client.close()


def test_the_client_gives_people_their_voices_after_the_other_arguments(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    given: list[SpeechUploads] = []

    def start(video: Path, speech: SpeechUploads, *others: object) -> None:
        given.append(speech)
        refuse()

    monkeypatch.setattr(served.sessions, "start_lipsync", start)
    for name in ("film.mp4", "anna.wav", "ben.wav", "mix.wav"):
        (tmp_path / name).write_text(name)
    film, anna, ben, mix = (handle_file(tmp_path / name) for name in ("film.mp4", "anna.wav", "ben.wav", "mix.wav"))
    client = Client(served.url, verbose=False, auth=("me", "secret"))
    with pytest.raises(AppError, match="refused here"):
        client.predict(film, face_1="left", speech_1=anna, face_2="right", speech_2=ben, sound=mix, api_name="/lipsync")
    with pytest.raises(AppError, match="refused here"):
        client.predict(film, anna, api_name="/lipsync")
    with pytest.raises(AppError, match="the face of speech 3 is empty"):
        client.predict(film, speech_3=ben, api_name="/lipsync")
    client.close()
    people, single = given
    assert [(voice.face, voice.speech.read_text()) for voice in people.people] == [
        ("left", "anna.wav"),
        ("right", "ben.wav"),
    ]
    assert people.speech is None
    assert people.sound is not None
    assert people.sound.read_text() == "mix.wav"
    assert single.speech is not None
    assert (single.people, single.sound) == ((), None)


def test_the_client_sets_silence_length_and_what_is_before_the_face(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    given: list[LipsyncOptions] = []

    def start(video: Path, speech: SpeechUploads, options: LipsyncOptions, weights: str) -> None:
        given.append(options)
        refuse()

    monkeypatch.setattr(served.sessions, "start_lipsync", start)
    for name in ("film.mp4", "anna.wav", "hand.mkv"):
        (tmp_path / name).write_text(name)
    film, anna, hand = (handle_file(tmp_path / name) for name in ("film.mp4", "anna.wav", "hand.mkv"))
    client = Client(served.url, verbose=False, auth=("me", "secret"))
    chosen: dict[str, Any] = dict(silence="close", sync_mode="cut", max_yaw=35, occluder=hand)
    refused: tuple[tuple[dict[str, Any], str], ...] = (
        (chosen, "refused here"),
        ({"find_occluders": True}, "refused here"),
        ({**chosen, "find_occluders": True}, "also to be found: choose one of both"),
        ({"max_yaw": 5}, "Value 5 is less than minimum value 10"),
        ({"exact": True, "silence": "keep"}, "silence is keep, which contradicts exact"),
        ({"sync_mode": "stretch"}, "stretch"),
    )
    for settings, line in refused:
        with pytest.raises(AppError, match=line):
            client.predict(film, anna, **settings, api_name="/lipsync")
    client.close()
    first, second = given
    assert (first.silence, first.sync_mode, first.max_yaw) == ("close", "cut", 35)
    assert first.occluder is not None
    assert Path(first.occluder).read_text() == "hand.mkv"
    assert second == LipsyncOptions(occluder="auto")


def refuse(*inputs: object) -> None:
    raise InputError("refused here")


def test_the_login_form_works_in_a_browser_with_nothing_but_open_routes(served: Served, chromium: str):
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")
    refused: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on("response", lambda answer: answer.status in (401, 403, 404) and refused.append(answer.url))
        page.goto(served.url)
        page.fill("input[type=text], textarea", "me")
        page.fill("input[type=password]", "secret")
        page.click("button")
        page.wait_for_selector("#run")
        page.click("#example")
        page.wait_for_selector("#video video", state="attached")
        browser.close()
    assert refused == []
