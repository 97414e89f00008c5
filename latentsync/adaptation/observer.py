"""Interface of what follows a training while it runs, such as the page of the app."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Observer(Protocol):
    """Called in the thread of the training.

    Attributes:
        preview_minutes: minutes of training between two previews.
    """

    preview_minutes: float

    def on_metrics(self, step: int, metrics: dict[str, float]) -> None:
        """Receive means over the steps since the last call; "loss" is among them."""
        ...

    def on_preview(self, step: int, footage: NDArray[np.uint8], generated: NDArray[np.uint8]) -> None:
        """Receive held-out crops (f, R, R, 3) and the same frames generated with the weights of this step."""
        ...
