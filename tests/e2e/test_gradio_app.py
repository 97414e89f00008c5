"""The app in a real browser, through the API, and with requests that must be refused."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from gradio_client import Client, handle_file

from latentsync.app.adapt_service import CONFIG, AdaptService
from latentsync.app.lipsync_service import LipsyncService
from latentsync.app.server import Served, ServerSettings, serving
from latentsync.app.sync_comparison import load_scorer
from latentsync.config import load_config
from latentsync.errors import InputError
from latentsync.jobs.limits import Limits
from latentsync.media.probe import probe_video
from latentsync.pipelines.presets import PRESETS
from latentsync.recipes.adaptation_run import AdaptationRun
from latentsync.recipes.lipsync import LipsyncBuild
from latentsync.weights import CHECKPOINTS, DEMO_UNET, DEMO_UNET_CONFIG, REPOSITORY_ROOT
from tests.repository_copy import environment_of

pytestmark = pytest.mark.slow

STEPS = "2"
MANY_STEPS = "100"
STEPS_FIELD = "document.querySelector('#steps input[type=number]')"
LIMITS = Limits(max_seconds=4, max_megabytes=2, max_side=300, max_minutes=60)
SHORT_ADAPTATION = [
    "training.batch_size=1",
    "training.log_every=1",
    "adaptation.guidance_scales=[]",
    "adaptation.decoder.share=0",
]
VIEWPORT: Any = {"width": 1280, "height": 1000}
PATIENCE_MS = 240_000
"""Generous, for a busy machine; every test usually takes less than a tenth of it."""


@dataclass(frozen=True)
class Clips:
    """Short files made from the bundled example, of one person or two, and a text file named as a video."""

    face: Path
    two: Path
    footage: Path
    voice: Path
    speech: Path
    text: Path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    folder = tmp_path_factory.mktemp("clips")
    assets = REPOSITORY_ROOT / "assets"
    clips = Clips(
        folder / "face.mp4",
        folder / "two.mp4",
        folder / "anna.mp4",
        folder / "voice.wav",
        folder / "speech.wav",
        folder / "text.mp4",
    )
    small = ["-vf", "scale=192:192", "-crf", "12"]
    ffmpeg("-i", assets / "demo1_video.mp4", "-t", "0.8", *small, clips.face)
    ffmpeg("-i", assets / "demo1_video.mp4", "-t", "3.2", *small, clips.footage)
    both = "[0:v]scale=144:144,split[a][b];[b]hflip[c];[a][c]hstack"
    ffmpeg("-i", clips.face, "-filter_complex", both, "-an", "-crf", "12", clips.two)
    ffmpeg("-i", assets / "demo1_audio.wav", "-t", "1.04", clips.voice)
    ffmpeg("-i", assets / "demo1_audio.wav", "-t", "0.64", clips.speech)
    clips.text.write_text("this is not a film\n" * 50)
    return clips


@pytest.fixture(scope="module")
def served(clips: Clips, fresh_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The real server with the demo weights, shared by all tests of this file; its example is the short clip."""
    build = LipsyncBuild(
        REPOSITORY_ROOT / DEMO_UNET_CONFIG, CHECKPOINTS / DEMO_UNET, torch.device("cpu"), torch.float32, "mtcnn"
    )
    with pytest.MonkeyPatch.context() as patch:
        load_demo_scorer = partial(load_scorer, root=fresh_copy)
        patch.setattr("latentsync.app.lipsync_service.load_scorer", load_demo_scorer)
        service = LipsyncService.load(build, "demo", LIMITS)
    settings = ServerSettings(
        port=0,
        grace_seconds=120,
        work_dir=tmp_path_factory.mktemp("app") / "work",
        example_video=clips.face,
        example_speech=clips.speech,
    )
    voices = f"adaptation.check_speech=['{clips.voice}']"
    run = load_config(CONFIG, AdaptationRun, [*SHORT_ADAPTATION, voices])
    with serving(service, settings, AdaptService(run, build.device, build.detector, LIMITS)) as served:
        yield served


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """Debian's Chromium, without a window."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")
    with api.sync_playwright() as playwright:
        arguments = [
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--autoplay-policy=no-user-gesture-required",
        ]
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def context(browser: Any) -> Iterator[Any]:
    """A browser context shared by all tabs, with gradio's scripts in its cache; jobs belong to a tab."""
    with browser.new_context(viewport=VIEWPORT) as context:
        yield context


@pytest.fixture
def visit(context: Any, browser: Any, served: Served) -> Iterator[Callable[..., Any]]:
    """Open the page in a new tab, or as another visitor; fail on requests to other servers and on page errors."""
    pages, asked, complaints = [], [], []

    def open_page(another_person: bool = False) -> Any:
        page = (browser.new_context(viewport=VIEWPORT) if another_person else context).new_page()
        pages.append(page)
        page.set_default_timeout(PATIENCE_MS)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(served.url)
        page.wait_for_selector("#run")
        return page

    yield open_page
    for page in pages:
        page.close()
    for job in served.sessions.queue.active():
        served.sessions.queue.cancel(job.id)
    wait_until(lambda: served.sessions.queue.active() == [])
    elsewhere = [url for url in asked if not url.startswith((served.url, "blob:", "data:"))]
    assert elsewhere == []
    assert complaints == []


def test_the_example_runs_to_the_end_and_its_video_plays(visit: Callable[..., Any], clips: Clips):
    page = visit()
    use_example(page, STEPS)
    page.click("#run")
    page.wait_for_selector(state("running"))
    page.wait_for_selector(state("done"))
    play = "(v) => { v.muted = true; v.loop = true; return v.play(); }"
    page.wait_for_selector("#result video")
    page.eval_on_selector("#result video", play)
    page.wait_for_function(
        "() => { const v = document.querySelector('#result video'); return v.currentTime > 0.1 && v.readyState >= 2; }"
    )
    width = page.eval_on_selector("#result video", "(v) => [v.videoWidth, v.videoHeight]")
    assert width == [192, 192]
    summary = page.inner_text("#summary")
    assert "Sync with the new speech" in summary
    assert "demo SyncNet" in summary
    assert "16 frames, 16 synced" in summary
    page.get_by_role("tab", name="Side by side").click()
    page.wait_for_function(
        "() => { const v = document.querySelector('#compare video'); return v && v.videoWidth === 384; }"
    )
    page.get_by_role("tab", name="Frames").click()
    page.wait_for_function("() => { const i = document.querySelector('#sheet img'); return i && i.naturalWidth > 0; }")
    links = page.eval_on_selector_all("#files a[download]", "(links) => links.map((a) => a.download)")
    assert sorted(links) == ["lipsync.mp4", "lipsync_compare.mp4", "lipsync_sheet.png", "summary.txt"]
    with page.expect_download() as download:
        page.click("#files a[download='lipsync.mp4']")
    assert probe_video(download.value.path()).num_frames_estimate == 16


def test_cancel_stops_the_work_and_removes_what_it_wrote(visit: Callable[..., Any], served: Served):
    page = visit()
    use_example(page, MANY_STEPS)
    page.click("#run")
    page.wait_for_selector(state("running"))
    [job] = served.sessions.queue.active()
    wait_until(lambda: job.view().progress is not None)
    page.click("#cancel")
    page.wait_for_selector(state("cancelled"))
    assert "nothing was kept" in page.inner_text("#status")
    assert served.sessions.queue.active() == []
    assert not job.folder.exists()
    assert page.query_selector("#result video") is None


def test_no_file_and_a_bad_file_are_one_plain_line_each(visit: Callable[..., Any], clips: Clips):
    page = visit()
    page.click("#run")
    page.wait_for_selector(state("failed"))
    assert page.inner_text("#status .job-status").strip() == (
        "error: there is no video yet: upload one, or use the example"
    )
    page.set_input_files("#video input[type=file]", str(clips.text))
    page.wait_for_selector("#video video", state="attached")
    page.set_input_files("#speech input[type=file]", str(clips.speech))
    page.wait_for_selector("#speech audio, #speech #waveform, #speech .waveform-container", state="attached")
    page.click("#run")
    page.wait_for_selector(f"{state('failed')}:has-text('text.mp4')")
    assert page.inner_text("#status .job-status").strip() == (
        "error: text.mp4 is not a video or sound file that can be used: convert it to mp4 or wav"
    )
    toasts = page.eval_on_selector_all("[data-testid=toast-text]", "(toasts) => toasts.map((t) => t.innerText)")
    assert set(toasts) <= {"Video not playable"}


def test_two_visitors_at_once_both_get_their_video(visit: Callable[..., Any], served: Served):
    first, second = visit(), visit(another_person=True)
    for page in (first, second):
        use_example(page, STEPS)
    first.click("#run")
    first.wait_for_selector(state("running"))
    second.click("#run")
    second.wait_for_selector(state("waiting"))
    assert "1 job ahead" in second.inner_text("#status")
    for page in (first, second):
        page.wait_for_selector(state("done"))
        page.wait_for_selector("#result video")
    jobs = {page.eval_on_selector("#job textarea, #job input", "(field) => field.value") for page in (first, second)}
    assert len(jobs) == 2
    assert all((served.sessions.folders.jobs / job / "lipsync.mp4").is_file() for job in jobs)


def test_a_reload_finds_the_job_again(visit: Callable[..., Any], served: Served):
    page = visit()
    use_example(page, STEPS)
    page.click("#run")
    page.wait_for_selector(state("running"))
    [job] = served.sessions.queue.active()
    page.reload()
    page.wait_for_selector("#run")
    page.wait_for_selector(f"{state('running')}, {state('done')}")
    page.wait_for_selector(state("done"))
    page.wait_for_selector("#result video")
    assert served.sessions.queue.find(job.id) is job


def test_closing_the_page_stops_the_job(visit: Callable[..., Any], served: Served):
    page = visit()
    use_example(page, MANY_STEPS)
    page.click("#run")
    page.wait_for_selector(state("running"))
    [job] = served.sessions.queue.active()
    job.grace_seconds = 1.0
    page.close()
    wait_until(lambda: served.sessions.queue.active() == [])
    assert job.state.name == "CANCELLED"
    assert not job.folder.exists()


def test_a_click_on_a_person_chooses_the_face(visit: Callable[..., Any]):
    page = visit()
    page.click("#example")
    page.wait_for_selector("#video video", state="attached")
    page.get_by_text("Whom to follow").click()
    page.click("#look")
    page.wait_for_selector("#people img")
    page.click("#people img")
    page.wait_for_function("() => document.querySelector('#face textarea, #face input').value == 'person1'")


@pytest.mark.long
def test_each_person_gets_an_own_voice(visit: Callable[..., Any], clips: Clips):
    page = visit()
    page.set_input_files("#video input[type=file]", str(clips.two))
    page.wait_for_selector("#video video", state="attached")
    page.get_by_text("One voice per person").click()
    assert page.locator("#voice_1").is_hidden()
    page.get_by_role("button", name="Whom to follow").click()
    page.click("#look")
    page.wait_for_selector("#voice_2 img")
    assert page.locator("#voice_3").is_hidden()
    for row, speech in (("#voice_1", clips.voice), ("#voice_2", clips.speech)):
        page.set_input_files(f"{row} input[type=file]", str(speech))
        page.wait_for_selector(f"{row} audio, {row} #waveform, {row} .waveform-container", state="attached")
    page.fill("#steps input[type=number]", STEPS)
    page.press("#steps input[type=number]", "Tab")
    page.click("#run")
    page.wait_for_selector("#summary:has-text('frames synced')")
    summary = page.inner_text("#summary")
    assert re.search(r"face person1 \(voice.wav\): 26 of 26 frames synced", summary)
    assert re.search(r"face person2 \(speech.wav\): 26 of 26 frames synced", summary)


@pytest.mark.long
def test_an_adaptation_that_is_stopped_early_can_be_used(
    visit: Callable[..., Any], served: Served, clips: Clips, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("latentsync.app.adapt_service.NUM_PREVIEWS", 2_000)  # one after every few steps
    page = visit()
    page.get_by_role("tab", name="Adapt to a person").click()
    assert "Adapt only to people who agreed to it." in page.inner_text("#consent")
    page.set_input_files("#adapt_video input[type=file]", str(clips.footage))
    page.wait_for_selector("#adapt_video video", state="attached")
    page.click("#adapt")
    page.wait_for_selector("#adapt_preview img")
    page.wait_for_selector("#adapt_chart img")
    assert "training: 0 %" in page.inner_text("#adapt_status")
    page.click("#adapt_finish")
    page.wait_for_selector("#adapt_status [data-state=done]")
    page.wait_for_selector("#adapt_sheet img")
    assert "of 60 planned minutes on 3.2 s of footage" in page.inner_text("#adapt_summary")
    page.reload()
    use_example(page, STEPS)
    page.click("#weights input")
    page.get_by_role("option", name="anna").click()
    page.click("#run")
    page.wait_for_selector(state("done"))
    assert "weights: anna, " in page.inner_text("#summary")
    stranger = visit(another_person=True)
    stranger.click("#weights input")
    assert stranger.get_by_role("option").count() == 1


def test_a_preset_fills_the_controls_and_exact_selects_its_own(visit: Callable[..., Any]):
    page = visit()
    page.check("#preset input[value=balanced]")
    page.wait_for_function(f"() => {STEPS_FIELD}.value === '{PRESETS['balanced'].num_inference_steps}'")
    page.click("button:has-text('Advanced')")
    page.check("#exact input")
    page.wait_for_function(f"() => {STEPS_FIELD}.value === '{PRESETS['exact'].num_inference_steps}'")
    assert page.is_checked("#preset input[value=exact]")


def test_the_documented_client_example_works(served: Served, clips: Clips, tmp_path: Path):
    text = (REPOSITORY_ROOT / "docs" / "app.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    code = found[1]
    for documented, here in {
        "http://127.0.0.1:7860": served.url,
        "assets/demo1_video.mp4": str(clips.face),
        "assets/demo1_audio.wav": str(clips.speech),
        "steps=20": f"steps={STEPS}",
    }.items():
        assert documented in code
        code = code.replace(documented, here)
    environment = os.environ | {"GRADIO_TEMP_DIR": str(tmp_path), "GRADIO_ANALYTICS_ENABLED": "False"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert probe_video(tmp_path / "synced.mp4").num_frames_estimate == 16
    assert "Sync with the new speech" in done.stdout
    assert "error: there is no video yet" not in done.stdout


TRAVERSALS = (
    "/etc/passwd",
    "{root}/../../../../../../../../etc/passwd",
    "{root}/jobs/../../secret.txt",
    "{work}/secret.txt",
    "../secret.txt",
    "..%2Fsecret.txt",
    "{root}/%2e%2e/secret.txt",
    "{root}/link.txt",
    "file:///etc/passwd",
    "http://127.0.0.1:1/x",
    "https://example.com/",
    "{repository}/pyproject.toml",
    "pyproject.toml",
    "gradio_app.py",
    "/proc/self/environ",
    "{root}",
    "{root}/jobs",
)


@pytest.mark.parametrize("name", TRAVERSALS)
@pytest.mark.parametrize("route", ["/gradio_api/file=", "/gradio_api/file/", "/file="])
def test_no_file_outside_the_jobs_can_be_read(served: Served, route: str, name: str):
    root = served.sessions.folders.root
    (root.parent / "secret.txt").write_text("a secret\n")
    link = root / "link.txt"
    if not link.is_symlink():
        link.symlink_to(root.parent / "secret.txt")
    path = name.format(root=root, work=root.parent, repository=REPOSITORY_ROOT)
    url = httpx.URL(served.url).copy_with(raw_path=(route + path).encode())
    answer = httpx.get(url)
    assert answer.status_code in (403, 404), answer.text
    assert "a secret" not in answer.text
    assert "root:" not in answer.text


def test_a_job_folder_cannot_be_read_and_a_copy_of_its_result_can(served: Served, clips: Clips):
    client = Client(served.url, verbose=False)
    *_, job_id = client.predict(handle_file(clips.face), api_name="/people")
    folder = served.sessions.folders.jobs / job_id
    assert (folder / "video.mp4").read_bytes() == clips.face.read_bytes()
    for path in (folder / "video.mp4", folder / "person1.png"):
        assert path.is_file()
        assert httpx.get(f"{served.url}gradio_api/file={path}").status_code == 403
    content = (folder / "person1.png").read_bytes()
    copies = [path for path in served.sessions.folders.uploads.glob("*/person1.png") if path.read_bytes() == content]
    assert len(copies) == 1
    assert httpx.get(f"{served.url}gradio_api/file={copies[0]}").content == content


@pytest.mark.parametrize("path", ["/etc/passwd", "{repository}/assets/demo1_video.mp4", "{root}/../secret.mp4"])
def test_a_file_of_the_server_is_not_accepted_as_an_input(served: Served, path: str):
    root = served.sessions.folders.root
    shutil.copyfile(REPOSITORY_ROOT / "assets" / "demo1_video.mp4", root.parent / "secret.mp4")
    before = set(served.sessions.folders.jobs.iterdir())
    data = {"path": path.format(root=root, repository=REPOSITORY_ROOT), "meta": {"_type": "gradio.FileData"}}
    posted = httpx.post(f"{served.url}gradio_api/call/people", json={"data": [data]})
    answer = httpx.get(f"{served.url}gradio_api/call/people/{posted.json()['event_id']}", timeout=60)
    assert "event: error" in answer.text
    assert "event: complete" not in answer.text
    assert set(served.sessions.folders.jobs.iterdir()) == before


def test_an_address_is_not_fetched(served: Served):
    data = {"path": f"{served.url}theme.css", "meta": {"_type": "gradio.FileData"}}
    posted = httpx.post(f"{served.url}gradio_api/call/people", json={"data": [data]})
    answer = httpx.get(f"{served.url}gradio_api/call/people/{posted.json()['event_id']}", timeout=60)
    assert "addresses are not fetched" in answer.text


def test_an_upload_over_the_limit_is_refused(served: Served):
    files = {"files": ("large.mp4", b"x" * (3 << 20))}
    assert httpx.post(f"{served.url}gradio_api/upload", files=files).status_code == 413


def test_the_server_listens_to_this_machine_only_and_sends_no_telemetry(served: Served):
    config = httpx.get(f"{served.url}config").json()
    assert served.url.startswith("http://127.0.0.1:")
    assert served.share_url is None
    assert config["analytics_enabled"] is False
    assert "fonts.googleapis" not in httpx.get(served.url).text + httpx.get(f"{served.url}theme.css").text


def test_a_port_in_use_is_one_line(served: Served, tmp_path: Path):
    settings = ServerSettings(port=httpx.URL(served.url).port or 0, work_dir=tmp_path / "work")
    with pytest.raises(InputError, match="another --host or --port"), serving(served.sessions.service, settings):
        pytest.fail("two servers at one port")


def test_the_command_serves_with_a_password_and_ends_cleanly(fresh_copy: Path, tmp_path: Path):
    """In a folder with files of the user, which are neither removed nor served; old uploads are removed."""
    notes = {name: tmp_path / "work" / name for name in ("notes.txt", "thesis/ch1.txt", "jobs/letter.txt")}
    for name, path in notes.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    command = [sys.executable, str(fresh_copy / "gradio_app.py"), "--port", "0", "--device", "cpu"]
    command += ["--work_dir", str(tmp_path / "work"), "--keep_hours", "0.0005"]
    auth_file = tmp_path / "auth"
    auth_file.touch(0o600)
    auth_file.write_text("me:secret\n")
    command += ["--auth_file", str(auth_file)]
    with started(command, environment_of(fresh_copy, tmp_path)) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        url = next(line.split()[1] for line in lines if line.startswith("open "))
        assert httpx.get(f"{url}config").status_code == 401
        wrong = httpx.post(f"{url}login", data={"username": "me", "password": "wrong"})
        with httpx.Client(base_url=url) as client:
            right = client.post("/login", data={"username": "me", "password": "secret"})
            uploaded = Path(client.post("/gradio_api/upload", files={"files": ("a.mp4", b"film")}).json()[0])
            given_out = [client.get(f"/gradio_api/file={path}").status_code for path in notes.values()]
        wait_until(lambda: not uploaded.exists())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
            process.send_signal(number)
        error = process.communicate(timeout=120)[1]
    assert (wrong.status_code, right.status_code) == (400, 200)
    assert process.returncode == 0
    assert error.splitlines()[-1] == "stopped"
    assert "Traceback" not in error
    assert given_out == [403, 403, 403]
    assert {name: path.read_text() for name, path in notes.items()} == {name: name for name in notes}


@contextmanager
def started(command: list[str], environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Start a command; kill it if the test fails."""
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def use_example(page: Any, steps: str) -> None:
    page.click("#example")
    page.wait_for_selector("#video video", state="attached")
    page.wait_for_selector("#speech audio, #speech #waveform, #speech .waveform-container", state="attached")
    page.fill("#steps input[type=number]", steps)
    page.press("#steps input[type=number]", "Tab")


def state(name: str) -> str:
    return f"#status [data-state={name}]"


def wait_until(condition: Callable[[], bool], seconds: float = PATIENCE_MS / 1000) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
