import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentsync.media.ffmpeg_tools import file_url, run_tool
from preprocess.report.images import NUM_FRAMES, TILE, clip_tiles, draw_sheet
from preprocess.report.statistics import Example

_GREY = (128, 128, 128)


@pytest.fixture(scope="module")
def greyscale(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a video of two seconds whose brightness increases with every frame."""
    path = tmp_path_factory.mktemp("clips") / "-light 'n' dark.mp4"
    source = ["-f", "lavfi", "-i", "color=black:size=64x64:rate=25:duration=2", "-vf", "geq=lum=16+4*N:cb=128:cr=128"]
    run_tool(["ffmpeg", "-v", "error", *source, "-pix_fmt", "yuv420p", file_url(path)])
    return path


def test_frames_are_evenly_spaced(greyscale: Path) -> None:
    tiles = clip_tiles(greyscale)
    light = [float(np.asarray(tile).mean()) for tile in tiles]
    assert len(tiles) == NUM_FRAMES
    assert all(tile.size == (TILE, TILE) for tile in tiles)
    steps = np.diff(light)
    assert steps == pytest.approx(np.full(NUM_FRAMES - 1, 50 / 4 * 4 * 255 / 219), rel=0.25)


def test_what_cannot_be_shown_is_a_grey_tile(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in ("text.mp4", "empty.mp4", "pipe.mp4", "gone.mp4"):
        (tile,) = clip_tiles(tmp_path / name)
        assert tile.getpixel((2, 2)) == _GREY
        assert np.asarray(tile).max() > 200  # the text


def test_a_damaged_clip_shows_what_there_is(greyscale: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.mp4"
    run_tool(["ffmpeg", "-v", "error", "-i", file_url(greyscale), "-c", "copy", "-f", "mpegts", file_url(torn)])
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    assert 1 <= len(clip_tiles(torn)) <= NUM_FRAMES


def test_a_sheet_has_a_row_for_each_clip(greyscale: Path, tmp_path: Path) -> None:
    examples = [Example("one", greyscale), Example("two", tmp_path / "gone.mp4")]
    with Image.open(draw_sheet(examples, tmp_path / "sheets" / "sheet.png")) as sheet:
        assert sheet.height >= 2 * TILE
        assert sheet.width >= NUM_FRAMES * TILE
        assert sheet.convert("RGB").getpixel((30, TILE + 10)) == _GREY
    assert [path.name for path in (tmp_path / "sheets").iterdir()] == ["sheet.png"]
