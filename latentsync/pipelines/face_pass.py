"""The first pass over a video: find and follow the face."""

from collections.abc import Callable
from fractions import Fraction

from latentsync.errors import InputError
from latentsync.face.detection import FaceDetector, FollowingDetector
from latentsync.face.face_plan import FacePlan, plan_face
from latentsync.face.frames import reduced_size
from latentsync.face.sparse_detection import DETECTION_INTERVAL
from latentsync.media.ffmpeg_tools import REDUCE_FLAGS, SCALE_FLAGS
from latentsync.media.probe import VideoInfo
from latentsync.media.reader import VideoReader

_DETECTION_BATCH = 16


def find_face(
    video: VideoInfo,
    fps: Fraction,
    detector: FaceDetector,
    selector: str = "largest",
    max_frames: int | None = None,
    exact: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FacePlan:
    """Detect and track the face; return its anchors in every frame.

    Args:
        video: the video.
        fps: frames per second at which it is read.
        detector: one that follows faces receives reduced frames, except with `exact`.
        selector: which face, see `latentsync.face.tracker.select_track`.
        max_frames: number of frames after which reading stops.
        exact: detect the face fully in every frame, as in the published system.
        progress: called with the number of finished frames and of all frames.

    Raises:
        InputError: no face is found, or the selector does not fit.
    """
    frame_size = (video.width, video.height)
    size, flags, batch_size = frame_size, SCALE_FLAGS, _DETECTION_BATCH
    if isinstance(detector, FollowingDetector) and not exact:
        size, batch_size = reduced_size(*frame_size, detector.longest_side), 2 * DETECTION_INTERVAL
        flags = SCALE_FLAGS if size == frame_size else REDUCE_FLAGS
    total = video.num_frames_at(fps) if max_frames is None else min(max_frames, video.num_frames_at(fps))

    def report(done: int) -> None:
        if progress is not None:
            progress(done, max(total, done))

    with VideoReader(video.path, fps, max_frames, size, scale_flags=flags) as reader:
        plan = plan_face(reader, detector, selector, batch_size, report, float(fps), exact, frame_size)
    if not plan.segments():
        raise InputError(f"no face was found in {video.path}: use a video that shows a face")
    return plan
