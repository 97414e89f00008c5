"""What the main process of a launcher decides for all."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

from accelerate.state import PartialState
from accelerate.utils import broadcast_object_list

from latentsync.device import resolve_device
from latentsync.errors import InputError, LatentSyncError
from latentsync.training.launch import COLLECTIVE_TIMEOUT
from latentsync.training.trainer_config import TrainerConfig

T = TypeVar("T")


def is_main_process() -> bool:
    """Whether this process writes and decides, by what the launcher says; the only one does."""
    return int(os.environ.get("RANK", "0")) == 0


def decided_by_main(decide: Callable[[], T], config: TrainerConfig) -> T:
    """Gives the main process' answer in all processes of a launcher; every process calls this.

    Args:
        decide: called in the main process alone.
        config: of the run, for the device by which the processes are connected.

    Raises:
        LatentSyncError: the one that `decide` raised, in every process, so that none waits for the others.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return decide()
    PartialState(cpu=resolve_device(config.device).type == "cpu", timeout=COLLECTIVE_TIMEOUT)
    answer: Any = None
    if is_main_process():
        try:
            answer = decide()
        except LatentSyncError as error:
            answer = error
        except OSError as error:
            answer = InputError(str(error))
    answer = broadcast_object_list([answer])[0]
    if isinstance(answer, LatentSyncError):
        raise answer
    return answer
