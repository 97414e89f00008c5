"""The first pass over a video: find and follow the faces."""

from collections.abc import Callable, Sequence
from fractions import Fraction

from latentsync.errors import InputError
from latentsync.face.detection import FaceDetector, FollowingDetector
from latentsync.face.face_plan import FacePlan, plan_tracks
from latentsync.face.face_tracks import FaceTracks, track_faces
from latentsync.face.frames import reduced_size
from latentsync.face.sparse_detection import DETECTION_INTERVAL
from latentsync.face.tracker import Track
from latentsync.media.ffmpeg_tools import REDUCE_FLAGS, SCALE_FLAGS
from latentsync.media.probe import VideoInfo
from latentsync.media.reader import VideoReader

_DETECTION_BATCH = 16


def find_tracks(
    video: VideoInfo,
    fps: Fraction,
    detector: FaceDetector,
    selectors: Sequence[str] = (),
    max_frames: int | None = None,
    exact: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> FaceTracks:
    """Detect and track all faces.

    Args:
        video: the video.
        fps: frames per second at which it is read.
        detector: one that follows faces receives reduced frames, except with `exact`.
        selectors: checked with the first frame, see `latentsync.face.tracker.select_track`.
        max_frames: number of frames after which reading stops.
        exact: detect faces fully in every frame, as in the published system.
        progress: called with the number of finished frames and of all frames.

    Raises:
        InputError: no face is found, or a selector is invalid.
    """
    frame_size = (video.width, video.height)
    size, flags, batch_size = frame_size, SCALE_FLAGS, _DETECTION_BATCH
    if isinstance(detector, FollowingDetector) and not exact:
        size, batch_size = reduced_size(*frame_size, detector.longest_side), 2 * DETECTION_INTERVAL
        flags = SCALE_FLAGS if size == frame_size else REDUCE_FLAGS
    total = video.num_frames_at(fps) if max_frames is None else min(max_frames, video.num_frames_at(fps))
    interval = 1 if exact else DETECTION_INTERVAL

    def report(done: int) -> None:
        if progress is not None:
            progress(done, max(total, done))

    with VideoReader(video.path, fps, max_frames, size, scale_flags=flags) as reader:
        found = track_faces(reader, detector, selectors, batch_size, report, interval, frame_size)
    if not found.tracks:
        raise InputError(f"no face was found in {video.path}: use a video that shows a face")
    return found


def find_face(
    video: VideoInfo,
    fps: Fraction,
    detector: FaceDetector,
    selector: str = "largest",
    progress: Callable[[int, int], None] | None = None,
) -> FacePlan:
    """Detect and track one face; return its smoothed anchors in every frame. See `find_tracks`.

    Raises:
        InputError: no face is found, or the selector does not fit.
    """
    found = find_tracks(video, fps, detector, [selector], progress=progress)
    return followed_plan(found.follow(selector), found, fps)


def followed_plan(followed: Sequence[Track], found: FaceTracks, fps: Fraction, exact: bool = False) -> FacePlan:
    """Return the plan of tracks that do not overlap in time, smoothed, or with `exact` in whole pixels."""
    plan = plan_tracks(followed, found.num_frames)
    return plan.rounded() if exact else plan.smoothed(float(fps))
