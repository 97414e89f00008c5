"""Take the screenshot of the app in the README: ``python -m benchmarks.app_picture``.

Runs the bundled example in Debian's Chromium (playwright), shows one frame of source and result side by side, and saves
the upper part of the page. The screenshot includes the duration of the run: use an idle machine.
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from latentsync.app.limits import Limits
from latentsync.app.lipsync_service import LipsyncService
from latentsync.app.server import ServerSettings, serving
from latentsync.cli import OneLineParser, run_command
from latentsync.device import resolve_device, resolve_dtype
from latentsync.errors import ToolError
from latentsync.recipes.lipsync import LipsyncBuild
from latentsync.storage.output_file import atomic_output, check_output_file
from latentsync.weights import CHECKPOINTS, DEMO_UNET, DEMO_UNET_CONFIG, REPOSITORY_ROOT

WIDTH, HEIGHT = 1280, 910
MOMENT_S = 1.4
PATIENCE_MS = 1_800_000


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = OneLineParser(prog="app_picture", description=__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY_ROOT / "assets" / "app.png")
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args(argv)
    return run_command(lambda: take_screenshot(arguments.out, arguments.steps))


def take_screenshot(out: Path, steps: int) -> int:
    """Run the example of the app in Chromium and write the screenshot.

    Raises:
        ToolError: Chromium is missing.
    """
    check_output_file(out, [], suffixes=(".png",))
    chromium = shutil.which("chromium")
    if chromium is None:
        raise ToolError("Chromium is missing: apt-get install --no-install-recommends chromium")
    device = resolve_device()
    unet_config = REPOSITORY_ROOT / DEMO_UNET_CONFIG
    build = LipsyncBuild(unet_config, CHECKPOINTS / DEMO_UNET, device, resolve_dtype("auto", device), "mtcnn")
    service = LipsyncService.load(build, "demo, which know synthetic people only", Limits())
    with tempfile.TemporaryDirectory() as folder:
        settings = ServerSettings(port=0, work_dir=Path(folder) / "work", grace_seconds=600)
        with serving(service, settings) as served, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": WIDTH, "height": 1000})
            page.set_default_timeout(PATIENCE_MS)
            page.goto(served.url)
            run_example(page, steps)
            shown = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
            browser.close()
    with atomic_output(out) as beside:
        shown.crop((0, 0, WIDTH, HEIGHT)).save(beside, optimize=True)
    return 0


def run_example(page: Page, steps: int) -> None:
    """Run the example to its end and show one frame side by side."""
    page.click("#example")
    page.wait_for_selector("#video video", state="attached")
    page.fill("#steps input[type=number]", str(steps))
    page.press("#steps input[type=number]", "Tab")
    page.click("#run")
    page.wait_for_selector("#status [data-state=done]")
    page.get_by_role("tab", name="Side by side").click()
    page.wait_for_function(
        "() => { const v = document.querySelector('#compare video'); return v && v.readyState >= 2; }"
    )
    page.evaluate(f"() => {{ document.querySelector('#compare video').currentTime = {MOMENT_S}; }}")
    page.mouse.move(WIDTH / 4, HEIGHT)
    page.wait_for_timeout(2000)


if __name__ == "__main__":
    sys.exit(main())
