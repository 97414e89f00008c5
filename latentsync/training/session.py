"""State of a training in all its processes: model, optimizer, schedule, average and random generators."""

import copy
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from accelerate.utils import DistributedType, broadcast_object_list, gather_object, set_seed
from accelerate.utils.constants import OPTIMIZER_NAME, SAFE_WEIGHTS_NAME, SCALER_NAME, SCHEDULER_NAME
from torch import nn

from latentsync.errors import CheckpointError, ConfigError
from latentsync.training.checkpoint_files import check_average, check_like, check_model, check_optimizer, read_plain
from latentsync.training.launch import build_accelerator, is_sharded
from latentsync.training.optimizers import WeightAverage, build_optimizer, build_schedule
from latentsync.training.trainer_config import TrainerConfig

logger = logging.getLogger(__name__)


class TrainingSession:
    """Model, optimizer and schedule as prepared by accelerate, and the average of the weights.

    Attributes:
        used_time: used share of a limited time, in [0, 1]; the schedule follows it.

    Args:
        config: of the run.
        model: the network to train, on any device.

    Raises:
        ConfigError: no parameter is trainable, or the optimizer does not support the launcher's sharding.
    """

    def __init__(self, config: TrainerConfig, model: nn.Module) -> None:
        self.accelerator = build_accelerator(config)
        set_seed(config.seed, device_specific=True)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ConfigError("no parameter of the model is trainable: check the key trainable")
        if config.gradient_checkpointing:
            _enable_gradient_checkpointing(model)
        model.train()
        self.is_sharded = is_sharded(self.accelerator)
        # Under sharding no process holds all weights. Validation fills this copy, made before the model is sharded.
        self._whole_model = copy.deepcopy(model) if self.is_sharded and self.is_main else None
        optimizer = build_optimizer(model, config.optimizer)
        self.used_time = 0.0
        schedule = build_schedule(optimizer, config.schedule, config.max_steps, lambda: self.used_time)
        self.model, self.optimizer, self.schedule = self.accelerator.prepare(model, optimizer, schedule)
        self.average = WeightAverage(self.model, config.ema_decay) if config.ema_decay is not None else None

    @property
    def is_main(self) -> bool:
        """True in the process that writes and logs."""
        return self.accelerator.is_main_process

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self.accelerator.device

    def write(self, folder: Path) -> None:
        """Save the training state into a folder; every process calls this."""
        rank = self.accelerator.process_index
        self.accelerator.save_state(str(folder))
        torch.save(random_state(self.device), folder / _random_file(rank))
        if self.average is not None and (self.is_sharded or self.is_main):
            torch.save(self.average.state_dict(), folder / self._average_file())

    @contextmanager
    def exported_weights(self) -> Iterator[dict[str, torch.Tensor]]:
        """Yield all weights, averaged ones if configured; valid inside the context, complete on the main process."""
        with self._averaged():
            yield {name: tensor.detach() for name, tensor in self._state_dict().items()}

    def read(self, folder: Path, remedy: str) -> None:
        """Load the state that `write` saved; every process calls this.

        Args:
            folder: the checkpoint.
            remedy: remedy for a damaged checkpoint, for the message.

        Raises:
            CheckpointError: a file is damaged or does not fit the configuration; raised in every process.
        """
        faults = [fault for fault in self.gathered(self._fault(folder)) if fault is not None]
        if faults:
            raise CheckpointError(_cannot_continue(folder, faults[0], remedy))
        configured = [dict(group, params=None) for group in self.optimizer.param_groups]
        try:
            self.accelerator.load_state(str(folder))
        except Exception as error:  # only weights can still fail; the other files were checked before
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            fault = f"the weights do not fit the model: {line}"
            raise CheckpointError(_cannot_continue(folder, fault, remedy)) from error
        self.accelerator.step = 0  # micro-batches since the last optimizer step; accumulation may have changed
        self._configure_optimizer(configured)
        if self.average is not None:
            self.average.load_state_dict(read_plain(folder / self._average_file()))
        random_file = folder / _random_file(self.accelerator.process_index)
        if random_file.is_file():
            restore_random_state(read_plain(random_file), self.device)
        else:
            logger.warning("%s was saved by fewer processes: this one starts with a new random state", folder)

    def _configure_optimizer(self, configured: Sequence[Mapping[str, Any]]) -> None:
        """Give the loaded optimizer its configured settings, which the user may have changed since the save."""
        loaded = self.optimizer.param_groups
        for group, wanted in zip(loaded, configured, strict=True):
            if group["initial_lr"] != wanted["initial_lr"]:
                group["lr"] *= wanted["initial_lr"] / group["initial_lr"] if group["initial_lr"] else 1.0
            group.update({name: value for name, value in wanted.items() if name not in ("params", "lr")})
        schedule = getattr(self.schedule, "scheduler", self.schedule)  # accelerate wraps it
        schedule.base_lrs = [group["initial_lr"] for group in loaded]
        schedule._last_lr = [group["lr"] for group in loaded]

    def _fault(self, folder: Path) -> str | None:
        """Return the first unusable file of a checkpoint with the reason, or None."""
        try:
            if not self.is_sharded and self.accelerator.distributed_type != DistributedType.DEEPSPEED:
                if (folder / SAFE_WEIGHTS_NAME).is_file():
                    check_model(folder / SAFE_WEIGHTS_NAME, self.accelerator.unwrap_model(self.model).state_dict())
                check_optimizer(folder / f"{OPTIMIZER_NAME}.bin", self.optimizer)
                check_like(folder / f"{SCHEDULER_NAME}.bin", self.schedule.state_dict(), "the learning rate's schedule")
            if self.accelerator.scaler is not None:
                check_like(folder / SCALER_NAME, self.accelerator.scaler.state_dict(), "the loss scaling")
            if self.average is not None:
                check_average(folder / self._average_file(), self.average.state_dict()["averages"])
            random_file = folder / _random_file(self.accelerator.process_index)
            if random_file.is_file():
                self._try_random_state(random_file)
        except CheckpointError as error:
            return str(error)
        return None

    def _try_random_state(self, path: Path) -> None:
        content, kept = read_plain(path), random_state(self.device)
        try:
            restore_random_state(content, self.device)
        except Exception as error:  # plain data, but not a state of generators
            raise CheckpointError(f"{path.name} contains no state of random generators") from error
        finally:
            restore_random_state(kept, self.device)

    @contextmanager
    def evaluation_model(self) -> Iterator[nn.Module | None]:
        """Yield the whole network in eval mode, with averaged weights if configured; None except in the main process.

        Afterwards the training state is unchanged, random generators included.
        """
        kept = random_state(self.device)
        with self._averaged(), torch.no_grad():
            model = self._whole() if self.is_main or self.is_sharded else None
            if model is not None:
                model.eval()
            try:
                yield model if self.is_main else None
            finally:
                if model is not None:
                    model.train()
                if self._whole_model is not None:
                    self._whole_model.cpu()
        restore_random_state(kept, self.device)

    def gathered(self, value: Any) -> list[Any]:
        """Return the values of all processes, in order; every process calls this."""
        return gather_object([value])

    def from_main(self, value: Any) -> Any:
        """Return the value of the main process; every process calls this."""
        return broadcast_object_list([value])[0] if self.accelerator.num_processes > 1 else value

    def _averaged(self) -> Any:
        return self.average.applied() if self.average is not None else nullcontext()

    def _state_dict(self) -> dict[str, torch.Tensor]:
        return cast(dict[str, torch.Tensor], self.accelerator.get_state_dict(self.model))

    def _whole(self) -> nn.Module | None:
        if not self.is_sharded:
            return self.accelerator.unwrap_model(self.model)
        state = self._state_dict()
        if self._whole_model is not None:
            self._whole_model.load_state_dict(state)
            self._whole_model.to(self.device)
        return self._whole_model

    def _average_file(self) -> str:
        return f"average_{self.accelerator.process_index if self.is_sharded else 0}.pt"


def _random_file(rank: int) -> str:
    return f"random_{rank}.pt"


def _cannot_continue(folder: Path, fault: str, remedy: str) -> str:
    choices = f"use the configuration it was trained with, choose another training.run_dir, or {remedy}"
    return f"cannot continue from {folder}: {fault}: {choices}"


def _enable_gradient_checkpointing(model: nn.Module) -> None:
    enable = getattr(model, "enable_gradient_checkpointing", None)
    if enable is None:
        logger.warning("%s keeps its activations: it does not support gradient checkpointing", type(model).__name__)
    else:
        enable()


def random_state(device: torch.device) -> dict[str, Any]:
    """Return the state of the generators of Python, NumPy and torch (CPU and `device`) as plain data."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    state: dict[str, Any] = {
        "python": [version, list(internal), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if device.type != "cpu":
        state["device"] = torch.get_device_module(device).get_rng_state(device)
    return state


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Restore the result of `random_state`."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if "device" in state and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(state["device"], device)
