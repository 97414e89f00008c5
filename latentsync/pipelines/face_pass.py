"""The first pass over a video: find and follow the faces."""

from collections.abc import Callable, Sequence
from contextlib import closing
from fractions import Fraction

from latentsync.errors import InputError
from latentsync.face.describer import DescriberChoice
from latentsync.face.detection import FaceDetector
from latentsync.face.face_plan import FacePlan, plan_tracks
from latentsync.face.face_tracks import FaceTracks, check_selectors, track_detections
from latentsync.face.tracker import Track
from latentsync.media.probe import VideoInfo
from latentsync.pipelines.face_reading import DetectFaces, FaceReading, detect_here


def find_tracks(
    video: VideoInfo,
    fps: Fraction,
    detector: FaceDetector,
    selectors: Sequence[str] = (),
    max_frames: int | None = None,
    exact: bool = False,
    progress: Callable[[int, int], None] | None = None,
    detect: DetectFaces = detect_here,
    describer: DescriberChoice | None = None,
) -> FaceTracks:
    """Detect and track all faces.

    Args:
        video: the video.
        fps: frames per second at which it is read.
        detector: one that follows faces receives reduced frames, except with `exact`.
        selectors: checked before the work, see `latentsync.face.tracker.select_track`.
        max_frames: number of frames after which reading stops.
        exact: detect faces fully in every frame, as in the published system.
        progress: called with the number of finished frames and of all frames.
        detect: finds the faces of all frames; by default in this process.
        describer: descriptor of people; by default `DescriberChoice()`.

    Raises:
        InputError: no face is found, or a selector is invalid.
        CheckpointError: the weights of the descriptor are damaged.
    """
    reading = FaceReading.of(video, fps, detector, max_frames, exact, describer)
    check_selectors(selectors, reading.frame_size)
    built = reading.describer.build()
    with closing(detect(reading, detector, progress or (lambda done, total: None))) as detected:
        found = track_detections(detected, reading.frame_size, built)
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
