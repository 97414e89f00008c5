import cv2
import numpy as np

from latentsync.face.cuts import CutDetector


def scene(seed, shift=0, height=360, width=640):
    noise = np.random.default_rng(seed).integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
    return np.roll(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), shift, axis=1)


def cuts(frames):
    detector = CutDetector()
    return [i for i, frame in enumerate(frames) if detector.is_cut(frame)]


def test_a_cut_is_the_first_frame_of_the_new_scene():
    frames = [scene(1, i) for i in range(10)] + [scene(2, i) for i in range(7)] + [scene(3) for _ in range(5)]
    assert cuts(frames) == [10, 17]


def test_motion_noise_and_a_slow_fade_are_no_cuts():
    noise = np.random.default_rng(0)
    moving = [np.clip(scene(1, 2 * i) + noise.normal(0, 6, (360, 640, 3)), 0, 255).astype(np.uint8) for i in range(15)]
    fading = [(scene(1) * (1 - i / 40)).astype(np.uint8) for i in range(30)]
    assert cuts(moving) == []
    assert cuts(fading) == []


def test_scenes_of_one_frame_are_found():
    assert cuts([scene(1), scene(2), scene(3), scene(3)]) == [1, 2]
