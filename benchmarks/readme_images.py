"""Make the images of the README.

    python -m benchmarks.readme_images app
    python -m benchmarks.readme_images animation video_out_compare.mp4 --out demo_result.webp

`app` takes the screenshot of the app: it runs the bundled example in Debian's Chromium (playwright), shows one moment
of source and result side by side, and keeps the upper part of the page. The screenshot contains the run's duration,
so take it on a machine without other work.

`animation` makes the animated WebP out of a video that ``./inference.sh --compare`` wrote: the heads of source (left)
and result (right) of the demo, every second frame of the first seconds.
"""

import argparse
import io
import shutil
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from latentsync.app.adapt_service import AdaptService
from latentsync.app.lipsync_service import LipsyncService
from latentsync.app.server import ServerSettings, serving
from latentsync.cli import OneLineParser, run_command
from latentsync.device import resolve_device, resolve_dtype
from latentsync.errors import ToolError
from latentsync.jobs.limits import Limits
from latentsync.media.reader import VideoReader
from latentsync.recipes.lipsync import LipsyncBuild
from latentsync.storage.output_file import atomic_output, check_output_file
from latentsync.weights import CHECKPOINTS, DEMO_UNET, DEMO_UNET_CONFIG, REPOSITORY_ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTH, HEIGHT = 1280, 1270
MOMENT_S = 1.4
TIMEOUT_MS = 1_800_000

LEFT, TOP, SIDE = 90 / 512, 70 / 512, 312 / 512
"""Position of the demo person's head, as shares of the frame height."""
FRAME_STRIDE = 2
QUALITY = 75


def screenshot(arguments: argparse.Namespace) -> int:
    """Run the example in the app and write the screenshot.

    Raises:
        ToolError: Chromium is missing.
    """
    from playwright.sync_api import sync_playwright  # imported here: the animation does not need it

    check_output_file(arguments.out, [], suffixes=(".png",))
    chromium = shutil.which("chromium")
    if chromium is None:
        raise ToolError("Chromium is missing: apt-get install --no-install-recommends chromium")
    device = resolve_device()
    unet_config = REPOSITORY_ROOT / DEMO_UNET_CONFIG
    build = LipsyncBuild(unet_config, CHECKPOINTS / DEMO_UNET, device, resolve_dtype("auto", device), "mtcnn")
    service = LipsyncService.load(build, "demo, which know synthetic people only", Limits())
    with tempfile.TemporaryDirectory() as folder:
        settings = ServerSettings(port=0, work_dir=Path(folder) / "work", grace_seconds=600)
        adapter = AdaptService.load(device, build.detector, Limits())
        with serving(service, settings, adapter) as served, sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": WIDTH, "height": 1100})
            page.set_default_timeout(TIMEOUT_MS)
            page.goto(served.url)
            run_example(page, arguments.steps)
            shown = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
            browser.close()
    with atomic_output(arguments.out) as temporary:
        shown.crop((0, 0, WIDTH, HEIGHT)).save(temporary, optimize=True)
    return 0


def run_example(page: "Page", steps: int | None) -> None:
    """Run the example to the end and show one moment side by side."""
    page.click("#example")
    page.wait_for_selector("#video video", state="attached")
    if steps is not None:
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


def animation(arguments: argparse.Namespace) -> int:
    """Write the animated WebP."""
    check_output_file(arguments.out, [arguments.video])
    with VideoReader(arguments.video) as reader:
        fps = float(reader.info.fps)
        images = [heads(frame) for frame in islice(reader, 0, round(arguments.seconds * fps), FRAME_STRIDE)]
    with atomic_output(arguments.out) as temporary:
        images[0].save(
            temporary, "WEBP", save_all=True, append_images=images[1:], duration=round(1000 * FRAME_STRIDE / fps),
            loop=0, quality=QUALITY, method=6, kmin=1, kmax=1,
        )  # fmt: skip
    return 0


def heads(frame: np.ndarray) -> Image.Image:
    """Return both heads of a frame (h, 2 h, 3) of source and result."""
    height = frame.shape[0]
    left, top, side = (round(share * height) for share in (LEFT, TOP, SIDE))
    halves = (frame[:, :height], frame[:, height:])
    return Image.fromarray(np.concatenate([half[top : top + side, left : left + side] for half in halves], axis=1))


def main(arguments: list[str] | None = None) -> int:
    """Run one of the subcommands and return its exit code."""
    parser = OneLineParser(
        prog="python -m benchmarks.readme_images",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="{app,animation}")
    app = commands.add_parser("app", help="screenshot of the app")
    app.add_argument("--out", type=Path, default=REPOSITORY_ROOT / "assets" / "app.png")
    app.add_argument("--steps", type=int, help="denoising steps (default: of the page's preset)")
    app.set_defaults(run=screenshot)
    webp = commands.add_parser("animation", help="animation of source and result")
    webp.add_argument("video", type=Path)
    webp.add_argument("--out", type=Path, required=True)
    webp.add_argument("--seconds", type=float, default=3.2, help="length (default: %(default)s)")
    webp.set_defaults(run=animation)
    options = parser.parse_args(arguments)
    return run_command(lambda: options.run(options))


if __name__ == "__main__":
    sys.exit(main())
