"""Configuration of the training loop, its optimizer and its schedule."""

import math
from dataclasses import dataclass, field

MIXED_PRECISIONS = ("auto", "no", "bf16", "fp16")
OPTIMIZERS = ("adamw", "muon")
MAX_THREADS = MAX_WORKERS = 1024
MAX_SEED = 2**31 - 1
"""NumPy takes 32 bits, and every process of a launcher adds its number."""
SCHEDULES = ("constant", "linear", "cosine")


@dataclass
class OptimizerConfig:
    """The optimizer.

    Attributes:
        name: "adamw", or "muon": Muon for weights of two or more dimensions and AdamW for the rest.
        lr: peak learning rate of AdamW.
        matrix_lr: peak learning rate of Muon.
        betas: decay rates of AdamW's two averages.
        eps: epsilon of AdamW.
        momentum: momentum of Muon.
        weight_decay: decoupled weight decay, for weights of two or more dimensions.
        decay_vectors: apply it to biases and norms too, as published.
        plain_names: with Muon: prefixes of names of weights that AdamW trains, such as ["conv_in", "conv_out"].
        rate_factors: parts of names of weights, and factors of their learning rate, such as {"attn2.": 0.1}; the first
            part that a name contains counts.
    """

    name: str = "adamw"
    lr: float = 1e-4
    matrix_lr: float = 0.01
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8
    momentum: float = 0.95
    weight_decay: float = 0.01
    decay_vectors: bool = False
    plain_names: list[str] = field(default_factory=list)
    rate_factors: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _demand(
            self.name in OPTIMIZERS, f"training.optimizer.name is one of {', '.join(OPTIMIZERS)}, not {self.name!r}"
        )
        for key in ("lr", "matrix_lr"):
            value = getattr(self, key)
            _demand(0 < value < math.inf, f"training.optimizer.{key} is above 0 and finite, not {value}")
        for part, factor in self.rate_factors.items():
            _demand(
                0 < factor < math.inf,
                f"training.optimizer.rate_factors has {factor} for {part!r}: use a number above 0",
            )
        _demand(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            f"training.optimizer.betas are two numbers in [0, 1), not {self.betas}",
        )
        _demand(0 <= self.momentum < 1, f"training.optimizer.momentum lies in [0, 1), not {self.momentum}")
        _demand(
            0 < self.eps < math.inf and 0 <= self.weight_decay < math.inf,
            "training.optimizer.eps is above 0, training.optimizer.weight_decay at least 0, both finite",
        )


@dataclass
class ScheduleConfig:
    """The learning rate schedule over the optimizer steps.

    Attributes:
        name: decay from the peak to the floor at the last step: "constant", "linear" or "cosine".
        warmup_steps: steps of linear warm-up from near zero to the peak.
        floor: final rate as a share of the peak.
    """

    name: str = "constant"
    warmup_steps: int = 0
    floor: float = 0.0

    def __post_init__(self) -> None:
        _demand(self.name in SCHEDULES, f"training.schedule.name is one of {', '.join(SCHEDULES)}, not {self.name!r}")
        _demand(self.warmup_steps >= 0, f"training.schedule.warmup_steps is at least 0, not {self.warmup_steps}")
        _demand(0 <= self.floor <= 1, f"training.schedule.floor lies in [0, 1], not {self.floor}")


@dataclass
class BestMetricConfig:
    """Validation metric that selects the best checkpoint.

    Attributes:
        name: name of a metric of the validator; empty: none is selected.
        mode: "min" or "max".
    """

    name: str = ""
    mode: str = "min"

    def __post_init__(self) -> None:
        _demand(self.mode in ("min", "max"), f"training.best_metric.mode is min or max, not {self.mode!r}")


@dataclass
class TrainerConfig:
    """Settings of a training that concern neither model, data nor losses.

    Attributes:
        run_dir: folder of metrics, charts, checkpoints and exported weights.
        max_steps: optimizer steps of the whole training.
        max_minutes: time of the whole training in minutes, counted as `Progress.seconds`. It ends with the step that
            uses the time up, and the learning rate's decay follows the used share, so such a run is not reproducible.
            None: no limit.
        batch_size: items per batch and process.
        gradient_accumulation: batches per optimizer step.
        max_grad_norm: gradients are clipped to this norm; None: no clipping.
        mixed_precision: "no" (float32), "bf16", "fp16" (with loss scaling; not on a CPU), or "auto": "bf16" if the
            device multiplies bfloat16 natively (CUDA from compute capability 8.0), else "no". Frozen networks run in
            bfloat16 with "bf16", else in float32.
        gradient_checkpointing: recompute activations instead of keeping them, in the trained network, and in the VAE
            decoder and the VideoMAE of the losses.
        seed: seed of data order, item draws and the generators of every process.
        num_workers: processes that load data; 0: the training process loads it.
        log_every: steps between two rows of metrics.
        validate_every: steps between validations; 0: none.
        validate_minutes: minutes of training between further validations; None: none.
        save_every: steps between checkpoints; 0: only at the end and when interrupted.
        keep_last: number of checkpoints to keep, besides the best.
        best_metric: validation metric that selects the best checkpoint.
        resume: "latest" (from step 0 if there is none), "none", or the folder of a checkpoint.
        ema_decay: decay of the moving average of the weights; None: no average.
        device: "auto", "cpu" or another name of `latentsync.device`; launchers of several processes decide themselves.
        num_threads: CPU threads; None: torch decides.
        optimizer: the optimizer.
        schedule: the learning rate schedule.
    """

    run_dir: str = "runs/training"
    max_steps: int = 1000
    max_minutes: float | None = None
    batch_size: int = 1
    gradient_accumulation: int = 1
    max_grad_norm: float | None = 1.0
    mixed_precision: str = "auto"
    gradient_checkpointing: bool = False
    seed: int = 0
    num_workers: int = 2
    log_every: int = 10
    validate_every: int = 500
    validate_minutes: float | None = None
    save_every: int = 500
    keep_last: int = 3
    best_metric: BestMetricConfig = field(default_factory=BestMetricConfig)
    resume: str = "latest"
    ema_decay: float | None = None
    device: str = "auto"
    num_threads: int | None = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    def __post_init__(self) -> None:
        if self.mixed_precision == "False":
            self.mixed_precision = "no"  # YAML reads a bare no or off as false
        for key in ("max_steps", "batch_size", "gradient_accumulation", "log_every", "keep_last"):
            _demand(getattr(self, key) >= 1, f"training.{key} is at least 1, not {getattr(self, key)}")
        for key in ("seed", "num_workers", "validate_every", "save_every"):
            _demand(getattr(self, key) >= 0, f"training.{key} is at least 0, not {getattr(self, key)}")
        _demand(
            self.mixed_precision in MIXED_PRECISIONS,
            f"training.mixed_precision is one of {', '.join(MIXED_PRECISIONS)}, not {self.mixed_precision!r}",
        )
        for key in ("max_minutes", "validate_minutes"):
            minutes = getattr(self, key)
            _demand(minutes is None or 0 < minutes < math.inf, f"training.{key} is above 0 or null, not {minutes}")
        _demand(self.max_grad_norm is None or self.max_grad_norm > 0, "training.max_grad_norm is above 0 or null")
        _demand(self.ema_decay is None or 0 < self.ema_decay < 1, "training.ema_decay lies in (0, 1) or is null")
        _demand(
            self.num_threads is None or 1 <= self.num_threads <= MAX_THREADS,
            f"training.num_threads lies in [1, {MAX_THREADS}] or is null, not {self.num_threads}",
        )
        _demand(self.num_workers <= MAX_WORKERS, f"training.num_workers is at most {MAX_WORKERS}")
        _demand(self.seed <= MAX_SEED, f"training.seed is at most {MAX_SEED}, not {self.seed}")


def _demand(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)
