"""What every step is: settings, the weights it needs, and a pure function of one clip."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch

from preprocess.clip import Clip
from preprocess.verdict import Verdict

Process = Callable[[Clip, Path], Verdict]
"""(clip, an empty work folder of its own) -> verdict. Outputs go into the work folder; the runner moves them. The same
clip gives the same verdict and the same files, whatever was processed before."""


class Step(Protocol):
    """One step with its settings; small and picklable, since it travels to the workers.

    `config` is a dataclass with every setting that changes the results, and nothing else. Raise `version` when the code
    changes them.
    """

    number: ClassVar[int]
    name: ClassVar[str]
    """As in its file's name, such as ``resample``."""
    folder: ClassVar[str | None]
    """Where its outputs lie below the output folder; None where every clip goes on as it is."""
    version: ClassVar[int]
    reasons: ClassVar[Mapping[str, str]]
    """Every reason for which it rejects, with a line that says what it means."""
    uses_device: ClassVar[bool]
    """Whether it runs a network: one worker a GPU instead of one a core."""

    @property
    def config(self) -> Any:
        """Its settings."""
        ...

    def weights(self) -> list[Path]:
        """The weight files it will read, so that the manifest can tell when one changed.

        Raises:
            CheckpointError: one is missing; the message says how to get it.
        """
        ...

    def load(self, device: torch.device) -> Process:
        """The function of one clip, its networks loaded; called once in every worker."""
        ...
