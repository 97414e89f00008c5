"""Workers that generate segments of one video, from the settings that a pipeline is built from."""

from dataclasses import replace
from functools import partial

import torch

from latentsync.executors.base import Executor
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.pipelines.segment_workers import SegmentWorkers
from latentsync.recipes.lipsync import LipsyncBuild, build_pipeline


def segment_workers(build: LipsyncBuild, executor: Executor, num_workers: int) -> SegmentWorkers:
    """Return workers that load the networks of a build, each on its own device.

    Args:
        build: settings of the pipeline; its device is only of the workers' kind.
        executor: runs the workers.
        num_workers: number of workers.
    """
    return SegmentWorkers(executor, num_workers, partial(_build_on, build), build.device.type != "cpu")


def _build_on(build: LipsyncBuild, device: torch.device) -> LipsyncPipeline:
    return build_pipeline(replace(build, device=device))
