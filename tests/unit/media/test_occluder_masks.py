from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentsync.errors import InputError
from latentsync.media.occluder_masks import check_masks, check_number, open_masks, read_masks
from latentsync.media.probe import probe_video
from latentsync.media.repeated_reader import RepeatedReader, source_index
from latentsync.media.writer import VideoWriter

WIDTH, HEIGHT, NUM_FRAMES = 64, 48, 9
FPS = Fraction(25)


def mask_of(index: int) -> np.ndarray:
    """A white bar whose place shows the index, on black."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    mask[8:40, 4 * index : 4 * index + 16] = 255
    return mask


def write_video(path: Path, num_frames: int = NUM_FRAMES, fps: int = 25, width: int = WIDTH, crf: int = 0) -> Path:
    with VideoWriter(path, width, HEIGHT, Fraction(fps), crf=crf) as writer:
        for index in range(num_frames):
            mask = mask_of(index * NUM_FRAMES // num_frames)
            writer.write(np.repeat(np.pad(mask, ((0, 0), (0, width - WIDTH)))[..., None], 3, axis=-1))
    return path


def write_folder(folder: Path, num_frames: int = NUM_FRAMES, suffix: str = ".png") -> Path:
    folder.mkdir()
    for index in range(num_frames):
        Image.fromarray(mask_of(index)).save(folder / f"mask_{index}{suffix}", quality=95)
    (folder / "notes.txt").write_text("not a mask")
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source video, whose frames need not show anything."""
    return write_video(tmp_path_factory.mktemp("source") / "video.mp4")


def read(path: Path, video: Path, num_frames: int, folder: Path) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    @contextmanager
    def open_reader(path: Path):
        with RepeatedReader(path, FPS, NUM_FRAMES, num_frames, folder, 2 * WIDTH * HEIGHT * 3) as reader:
            yield iter(reader)

    with open_reader(video) as frames:
        yield from read_masks(open_masks(path), frames, open_reader)


@pytest.mark.parametrize("kind", ["video", "lossy video", "png", "jpg"])
def test_every_frame_gets_its_mask_forwards_and_backwards(kind: str, video: Path, tmp_path: Path):
    if "video" in kind:
        path = write_video(tmp_path / "masks.mp4", crf=0 if kind == "video" else 20)
    else:
        path = write_folder(tmp_path / "masks", suffix=f".{kind}")
    num_frames = 3 * NUM_FRAMES
    found = list(read(path, video, num_frames, tmp_path))
    assert [index for index, _, _ in found] == [source_index(i, NUM_FRAMES) for i in range(num_frames)]
    for index, frame, mask in found:
        assert mask.shape == frame.shape[:2]
        assert mask.dtype == np.uint8
        expected = mask_of(index)
        inside, outside = np.zeros((2, HEIGHT, WIDTH), dtype=bool)
        inside[12:36, 4 * index + 4 : 4 * index + 12] = True
        outside[:, : max(0, 4 * index - 4)] = outside[:, 4 * index + 20 :] = True
        assert (mask[inside] == 255).all()
        assert (mask[outside] == 0).all()
        if kind in ("video", "png"):
            assert np.abs(mask.astype(int) - expected).max() <= (0 if kind == "png" else 40)


def test_images_are_sorted_by_the_numbers_in_their_names(tmp_path: Path):
    folder = write_folder(tmp_path / "masks", 12)
    masks = open_masks(folder)
    assert [file.name for file in masks.files] == [f"mask_{index}.png" for index in range(12)]
    assert masks.size == (WIDTH, HEIGHT)


def test_a_mask_video_at_another_frame_rate_is_read_in_time(video: Path, tmp_path: Path):
    path = write_video(tmp_path / "masks.mp4", 2 * NUM_FRAMES, fps=50)
    masks = open_masks(path)
    check_masks(masks, probe_video(video), FPS)
    check_number(masks, video, NUM_FRAMES, True, FPS)
    for index, _, mask in read(path, video, NUM_FRAMES, tmp_path):
        assert abs(np.flatnonzero(mask.max(axis=0))[0] - 4 * index) <= 4


@pytest.mark.parametrize("kind", ["video", "folder"])
def test_masks_of_another_size_are_refused(kind: str, video: Path, tmp_path: Path):
    if kind == "video":
        path = write_video(tmp_path / "masks.mp4", width=WIDTH + 16)
    else:
        path = tmp_path / "masks"
        path.mkdir()
        Image.new("L", (WIDTH + 16, HEIGHT)).save(path / "0.png")
    with pytest.raises(InputError, match=r"masks.* has frames of 80 x 48 pixels, .*video\.mp4 frames of 64 x 48"):
        check_masks(open_masks(path), probe_video(video), FPS)


@pytest.mark.parametrize("num_masks", [NUM_FRAMES - 1, NUM_FRAMES + 1, 5 * NUM_FRAMES])
@pytest.mark.parametrize("kind", ["video", "folder"])
def test_another_number_of_masks_is_refused(kind: str, num_masks: int, video: Path, tmp_path: Path):
    if kind == "video":
        masks = open_masks(write_video(tmp_path / "masks.mp4", num_masks))
    else:
        masks = open_masks(write_folder(tmp_path / "masks", num_masks))
    if num_masks > 2 * NUM_FRAMES:
        with pytest.raises(InputError, match=r"45 masks, .*video\.mp4 has 9 frames at 25 per second"):
            check_masks(masks, probe_video(video), FPS)
    else:
        check_masks(masks, probe_video(video), FPS)  # the lengths in the files may be this wrong
    found = str(num_masks) if kind == "folder" or num_masks < NUM_FRAMES else "more than 9"
    with pytest.raises(InputError, match=f"{found} masks, .*has 9 frames at 25 per second"):
        check_number(masks, video, NUM_FRAMES, True, FPS)
    if num_masks > NUM_FRAMES:
        check_number(masks, video, NUM_FRAMES, False, FPS)
    check_number(masks, video, num_masks, True, FPS)


def test_things_that_are_no_masks_are_refused(tmp_path: Path):
    text, empty, mixed, broken = (tmp_path / name for name in ("text.mp4", "empty", "mixed", "broken"))
    text.write_text("not a video")
    with pytest.raises(InputError, match=r"text\.mp4 is not a video file"):
        open_masks(text)
    with pytest.raises(InputError, match="absent does not exist"):
        open_masks(tmp_path / "absent")
    empty.mkdir()
    (empty / "notes.txt").write_text("no image")
    with pytest.raises(InputError, match="empty has no PNG or JPEG image"):
        open_masks(empty)
    write_folder(mixed, 3)
    Image.new("L", (10, 10)).save(mixed / "mask_2.png")
    with pytest.raises(InputError, match=r"mask_2\.png has frames of 10 x 10 pixels, mask_0\.png frames of 64 x 48"):
        open_masks(mixed)
    write_folder(broken, 3)
    (broken / "mask_1.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(InputError, match=r"mask_1\.png is not a PNG or JPEG image"):
        open_masks(broken)


def test_images_of_16_bits_colour_and_transparency_are_read(video: Path, tmp_path: Path):
    folder = write_folder(tmp_path / "masks")
    Image.fromarray(mask_of(0).astype(np.uint16) * 257).save(folder / "mask_0.png")
    Image.fromarray(mask_of(1)).convert("RGBA").save(folder / "mask_1.png")
    Image.fromarray(mask_of(2)).convert("1").save(folder / "mask_2.png")
    for index, _, mask in list(read(folder, video, NUM_FRAMES, tmp_path))[:3]:
        assert np.array_equal(mask, mask_of(index))


def test_an_image_that_cannot_be_decoded_is_named(video: Path, tmp_path: Path):
    folder = write_folder(tmp_path / "masks")
    content = (folder / "mask_4.png").read_bytes()
    (folder / "mask_4.png").write_bytes(content[:60])
    with pytest.raises(InputError, match=r"mask_4\.png cannot be decoded"):
        list(read(folder, video, NUM_FRAMES, tmp_path))
