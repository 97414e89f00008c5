"""Workers that process parts of one video, from the settings that a pipeline is built from."""

from dataclasses import replace
from functools import partial

import torch

from latentsync.executors.base import Executor
from latentsync.face.detection import FaceDetector
from latentsync.pipelines.face_workers import FaceWorkers
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.segment_workers import SegmentWorkers
from latentsync.recipes.lipsync import LipsyncBuild, build_detectors, build_pipeline


def pass_workers(build: LipsyncBuild, executor: Executor, num_workers: int) -> tuple[FaceWorkers, SegmentWorkers]:
    """Return workers for the first and the second pass, each with the networks of a build on its own device.

    Args:
        build: settings of the pipeline; its device is only of the workers' kind.
        executor: runs the workers.
        num_workers: number of workers of each pass.
    """
    on_accelerators = build.device.type != "cpu"
    return (
        FaceWorkers(executor, num_workers, partial(_detector_on, build), on_accelerators),
        SegmentWorkers(executor, num_workers, partial(_build_on, build), on_accelerators),
    )


def _detector_on(build: LipsyncBuild, device: torch.device, exact: bool) -> FaceDetector:
    detector, exact_detector = build_detectors(replace(build, device=device))
    if not exact:
        return detector
    assert exact_detector is not None  # see LipsyncPipeline.check_options
    return exact_detector


def _build_on(build: LipsyncBuild, device: torch.device) -> LipsyncPipeline:
    return build_pipeline(replace(build, device=device))
