"""Face tracks: links against a plain reference, crops against explicit padding and interpolation."""

import weakref

import numpy as np
import pytest
import torch
from scipy.signal import medfilt
from torchvision.ops import box_iou

from latentsync.errors import InputError
from latentsync.judges.face_tracks import (
    CROP_SIZE,
    FaceTrack,
    FaceTrackConfig,
    crop_square,
    crop_squares,
    crop_track,
    link_tracks,
    median_filter,
)

SHORT = FaceTrackConfig(min_frames=10)
NOTHING = np.empty((0, 5), dtype=np.float32)


def face(x, y, width=120.0, height=150.0, score=0.95):
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2, score]


def rows(*faces):
    return np.array(faces, dtype=np.float32)


def reference_overlap(a, b):
    return float(box_iou(torch.tensor(a)[None, :4], torch.tensor(b)[None, :4]))


def reference_tracks(boxes_per_frame, config):
    """Greedy reference: follow the first unassigned face to the end of its track, then repeat."""
    left = [[(frame, box) for box in boxes] for frame, boxes in enumerate(boxes_per_frame)]
    while any(left):
        track = []
        for faces in left:
            for entry in list(faces):
                is_near = not track or (
                    0 < entry[0] - track[-1][0] <= config.max_gap
                    and reference_overlap(entry[1], track[-1][1]) > config.min_overlap
                )
                if is_near:
                    track.append(entry)
                    faces.remove(entry)
                    break
        if len(track) >= config.min_frames:
            yield track


class TestLinkTracks:
    def test_one_face_in_every_frame(self):
        (track,) = link_tracks(rows(face(300 + i, 200)) for i in range(60))
        assert (track.first_frame, len(track), track.stop_frame, track.num_detected) == (0, 60, 60, 60)
        assert np.allclose(track.boxes[:, 0], 240 + np.arange(60))
        assert track.mean_side == pytest.approx(150)

    def test_matches_a_plain_reference_on_two_jittering_faces_with_gaps(self):
        rng = np.random.default_rng(3)
        frames = []
        for i in range(120):
            places = [(150 + i, 200), (600 - i // 2, 300)]
            faces = [np.round(face(*(np.array(p) + rng.integers(-9, 10, 2)))[:4]) for p in places if rng.random() > 0.3]
            frames.append(np.array(faces).reshape(-1, 4))
        tracks = link_tracks(frames, SHORT)
        expected = list(reference_tracks(frames, SHORT))
        assert len(tracks) == len(expected) >= 2
        for track, truth in zip(tracks, sorted(expected, key=lambda entries: entries[0][0]), strict=True):
            assert track.first_frame == truth[0][0]
            assert track.stop_frame == truth[-1][0] + 1
            assert track.num_detected == len(truth)
            for frame, box in truth:
                assert np.array_equal(track.boxes[frame - track.first_frame], box)

    @pytest.mark.parametrize(("apart", "num_tracks"), [(25, 1), (26, 2)])
    def test_a_gap_of_25_frames_is_interpolated_and_a_longer_one_splits_the_track(self, apart, num_tracks):
        first = [rows(face(300, 200))] * 20
        frames = [*first, *[NOTHING] * (apart - 1), *[rows(face(325, 210))] * 20]
        tracks = link_tracks(frames, SHORT)
        assert len(tracks) == num_tracks
        if num_tracks == 1:
            assert np.allclose(tracks[0].boxes[19:45, 0], 240 + np.arange(26))
            assert np.allclose(tracks[0].boxes[19:45, 3], 275 + 0.4 * np.arange(26))
            assert (len(tracks[0]), tracks[0].num_detected) == (64, 40)

    @pytest.mark.parametrize(("shift", "num_tracks"), [(39, 1), (41, 2)])
    def test_boxes_must_overlap_by_more_than_half(self, shift, num_tracks):
        # 120 wide, shifted by s: (120 - s) / (120 + s) is 1/2 at s = 40
        frames = [*[rows(face(300, 200))] * 15, *[rows(face(300 + shift, 200))] * 15]
        assert len(link_tracks(frames, SHORT)) == num_tracks

    def test_more_than_fifty_detections_are_required(self):
        found = [rows(face(300, 200))] * 50
        assert link_tracks([*found, NOTHING]) == []
        assert len(link_tracks([*found, NOTHING, found[0]])) == 1

    @pytest.mark.parametrize(("size", "num_tracks"), [((100, 100), 0), ((60, 101), 1), ((101, 60), 1)])
    def test_the_larger_mean_side_counts(self, size, num_tracks):
        assert len(link_tracks([rows(face(300, 200, *size))] * 51)) == num_tracks

    def test_two_close_faces_are_two_tracks(self):
        frames = [rows(face(300, 200), face(340, 200)) if i % 2 else rows(face(340, 200), face(300, 200))
                  for i in range(20)]  # fmt: skip
        tracks = link_tracks(frames, FaceTrackConfig(min_frames=10, min_overlap=0.3))
        assert sorted(float(track.boxes[:, 0].mean()) for track in tracks) == [240, 280]
        assert all(np.ptp(track.boxes[:, 0]) == 0 for track in tracks)

    def test_no_frames_and_empty_frames_give_no_track(self):
        assert link_tracks([]) == []
        assert link_tracks([NOTHING, np.empty(0), np.empty((0, 4))]) == []

    @pytest.mark.parametrize(
        "wrong",
        [{"min_overlap": 1.0}, {"max_gap": 0}, {"min_frames": 6}, {"min_side": 0}],
        ids=lambda wrong: str(wrong),
    )
    def test_settings_out_of_range_are_refused(self, wrong):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} .* is out of range"):
            FaceTrackConfig(**wrong)


@pytest.mark.filterwarnings("ignore:kernel_size exceeds volume extent")
@pytest.mark.parametrize("num_frames", [1, 5, 7, 13, 60])
def test_the_median_filter_is_scipys(num_frames):
    values = np.random.default_rng(num_frames).uniform(50, 500, num_frames)
    assert np.array_equal(median_filter(values), medfilt(values, 13))


def test_half_side_and_centre_are_filtered_separately():
    boxes = np.array([face(300 + i, 200)[:4] for i in range(30)])
    boxes[15] += [50, 0, 90, 0]
    half_side, x, y = crop_squares(FaceTrack(0, boxes, 30)).T
    assert np.array_equal(half_side, medfilt(np.where(np.arange(30) == 15, 80.0, 75.0), 13))
    assert np.array_equal(x, medfilt(300 + np.arange(30) + np.where(np.arange(30) == 15, 70.0, 0), 13))
    assert np.array_equal(y, np.full(30, 200.0))


def reference_crop(frame, half_side, x, y):
    """The published procedure: pad the frame, cut, and interpolate between pixel centres."""
    pad = int(1.8 * half_side)
    padded = np.pad(frame, ((pad, pad), (pad, pad), (0, 0)), constant_values=110)
    x, y = x + pad, y + pad
    rows, columns = (int(y - half_side), int(y + 1.8 * half_side)), (int(x - 1.4 * half_side), int(x + 1.4 * half_side))
    cut = padded[slice(*rows), slice(*columns)].astype(np.float64)
    down, across = (_bilinear_weights(side) for side in cut.shape[:2])
    return np.einsum("ri,cj,ijk->rck", down, across, cut, optimize=True)


def _bilinear_weights(side):
    weights = np.zeros((224, side))
    for i in range(224):
        place = min(max((i + 0.5) * side / 224 - 0.5, 0), side - 1)
        low = min(int(place), side - 2)
        weights[i, low], weights[i, low + 1] = 1 - (place - low), place - low
    return weights


@pytest.mark.parametrize(
    "square",
    [(61.3, 160.7, 120.2), (80.0, 30.5, 200.9), (52.9, 310.1, 15.3), (150.4, 160, 120)],
    ids=["inside", "lower left", "upper right", "larger than the frame"],
)
def test_crops_are_the_published_ones(square):
    frame = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
    crop = crop_square(frame, *square)
    assert crop.shape == (CROP_SIZE, CROP_SIZE, 3)
    assert crop.dtype == np.uint8
    assert np.abs(crop - reference_crop(frame, *square)).max() <= 1.0


def test_a_face_wholly_outside_is_all_padding():
    frame = np.zeros((100, 100, 3), dtype=np.uint8)
    assert (crop_square(frame, 20, -200, 50) == 110).all()
    assert (crop_square(frame, 20, 50, 400) == 110).all()


class TestCropTrack:
    track = FaceTrack(5, np.array([face(60 + i, 50, 40, 40)[:4] for i in range(20)]), 20)

    def test_streams_the_frames_without_keeping_them(self):
        alive, taken = [], []

        def frames():
            for number in range(40):
                frame = np.full((100, 120, 3), number, dtype=np.uint8)
                alive.append(weakref.ref(frame))
                taken.append(number)
                yield frame
                del frame

        crops = []
        for crop in crop_track(frames(), self.track):
            crops.append(int(crop[112, 112, 0]))
            assert sum(reference() is not None for reference in alive) <= 2
        assert crops == list(range(5, 25))
        assert taken == list(range(25))

    def test_each_frame_has_its_own_square(self):
        frame = np.random.default_rng(1).integers(0, 256, (100, 120, 3), dtype=np.uint8)
        squares = crop_squares(self.track)
        for crop, square in zip(crop_track([frame] * 25, self.track), squares, strict=True):
            assert np.array_equal(crop, crop_square(frame, *square))

    def test_a_video_shorter_than_its_track_is_refused(self):
        frame = np.zeros((100, 120, 3), dtype=np.uint8)
        with pytest.raises(InputError, match=r"ends after 24 frames, its face track after 25: track again"):
            list(crop_track([frame] * 24, self.track))
