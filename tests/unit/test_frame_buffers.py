"""Memory of frames is used again, and never while anything of the frame is left."""

import threading

import numpy as np
import torch

from latentsync.frame_buffers import FrameBuffers


def address(frame: np.ndarray) -> int:
    return frame.__array_interface__["data"][0]


def test_the_memory_of_a_frame_that_is_gone_is_used_again():
    buffers = FrameBuffers()
    frame = buffers.new(4, 6)
    assert (frame.shape, frame.dtype, frame.flags.writeable) == ((4, 6, 3), np.uint8, True)
    first = address(frame)
    other = buffers.new(4, 6)
    assert address(other) != first
    del frame
    assert address(buffers.new(4, 6)) == first


def test_views_and_tensors_of_a_frame_keep_its_memory():
    buffers = FrameBuffers()
    views = (lambda f: f[1:3, 2:], lambda f: f.reshape(-1)[::2], lambda f: torch.from_numpy(f)[1:], lambda f: f.data)
    for part_of in views:
        frame = buffers.new(4, 6)
        frame[:] = 7
        part = part_of(frame)
        del frame
        buffers.new(4, 6)[:] = 9
        assert (np.asarray(part) == 7).all()


def test_frames_of_another_size_have_other_memory():
    buffers = FrameBuffers()
    buffers.new(4, 6)[:] = 7
    assert buffers.new(8, 6).shape == (8, 6, 3)


def test_a_copy_equals_its_frame_and_is_independent():
    frame = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    copy = FrameBuffers().copy(frame)
    assert np.array_equal(copy, frame)
    copy[:] = 0
    assert frame.any()


def test_threads_never_share_a_frame():
    buffers, faults = FrameBuffers(), []

    def work(value: int) -> None:
        for _ in range(300):
            frame = buffers.new(16, 16)
            frame[:] = value
            if not (frame == value).all():
                faults.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
