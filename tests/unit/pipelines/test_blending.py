import torch

from latentsync.pipelines.blending import WindowBlender


def window(value: float, num_frames: int) -> torch.Tensor:
    return torch.full((num_frames, 3, 1, 1), value)


def test_shared_frames_move_evenly_from_the_old_window_to_the_new():
    blender = WindowBlender()
    first = list(blender.add(window(0.0, 6), 3))
    second = list(blender.add(window(4.0, 6), 6))
    assert [float(f.mean()) for f in first + second] == [0, 0, 0, 1, 2, 3, 4, 4, 4]


def test_windows_that_agree_are_not_changed():
    blender = WindowBlender()
    frames = torch.rand(12, 3, 2, 2)
    out = [*blender.add(frames[:8], 4), *blender.add(frames[4:], 8)]
    torch.testing.assert_close(torch.stack(out), frames)
