"""Values that events of the page take and give."""

import math
from pathlib import Path
from typing import Any

import gradio as gr

from latentsync.errors import InputError

Update = Any
"""Value for one gradio component, or `gr.skip()`."""


def given_path(value: str | None) -> Path | None:
    """Return the path of an uploaded file, or None."""
    return Path(value) if value else None


def finite_number(name: str, value: float | None) -> float:
    """Return a number of the page; raise InputError if the field is empty."""
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InputError(f"{name} is empty: give a number")
    return value


def integer(name: str, value: float | None) -> int:
    """Return an integer of the page; raise InputError if the field is empty or not an integer."""
    given = finite_number(name, value)
    if given != int(given):
        raise InputError(f"{name} is {given}: give a whole number")
    return int(given)


def event_error(message: str) -> gr.Error:
    """Return the error that ends an event; the page shows its own status line."""
    return gr.Error(message, visible=False, print_exception=False)
