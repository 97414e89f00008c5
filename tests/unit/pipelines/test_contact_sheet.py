from pathlib import Path

import numpy as np
from PIL import Image

from latentsync.pipelines.contact_sheet import TILE_HEIGHT, TILE_WIDTH, ContactSheet


def test_columns_are_evenly_spaced_frames_cropped_around_the_face(tmp_path: Path):
    sheet = ContactSheet(num_frames=80, resolution=100)
    to_crop = np.array([[2.0, 0, -200], [0, 2.0, -100]])  # the crop is x 100...150, y 50...100 of the frame
    for i in range(80):
        source = np.zeros((200, 300, 3), dtype=np.uint8)
        source[45:105, 95:155] = 3 * i
        sheet.add(i, source, 255 - source, [to_crop])
    sheet.write(tmp_path / "sheet.png")
    sheet_image = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet_image.shape == (2 * TILE_HEIGHT, 8 * TILE_WIDTH, 3)
    heights = TILE_HEIGHT // 2, 3 * TILE_HEIGHT // 2
    upper, lower = (sheet_image[y, TILE_WIDTH // 2 :: TILE_WIDTH, 0].tolist() for y in heights)
    assert upper == [3 * i for i in range(5, 80, 10)]
    assert lower == [255 - 3 * i for i in range(5, 80, 10)]


def test_a_frame_without_the_face_is_shown_in_full_and_short_results_have_fewer_columns(tmp_path: Path):
    sheet = ContactSheet(num_frames=2, resolution=64)
    for i in range(2):
        sheet.add(i, np.full((40, 20, 3), 200, np.uint8), np.full((40, 20, 3), 100, np.uint8), ())
    sheet.write(tmp_path / "sheet.png")
    sheet_image = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet_image.shape == (2 * TILE_HEIGHT, 2 * TILE_WIDTH, 3)
    assert sheet_image[TILE_HEIGHT // 2, TILE_WIDTH // 2].tolist() == [200, 200, 200]
    assert sheet_image[TILE_HEIGHT // 2, 10].tolist() == [0, 0, 0]
