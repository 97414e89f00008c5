"""What a client asks for: the fields of ``POST /v1/jobs``."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from latentsync.errors import InputError
from latentsync.pipelines.options import SILENCE, SYNC_MODES, LipsyncOptions
from latentsync.server.form_receiver import ReceivedForm

INPUTS = ("video", "audio")
"""Each is a file, or named by ``_url`` or ``_path``."""
_NUMBERS = {"guidance_scale": float, "num_inference_steps": int, "seed": int}
_TEXTS = {"loop_mode": "sync_mode", "face": "face", "silence": "silence"}
_SOURCES = tuple(f"{name}_{how}" for name in INPUTS for how in ("url", "path"))
_MAX_TEXT = 2000

FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    **{
        name: ({"type": "string"}, "an address on an allowed host" if name.endswith("url") else "below an input root")
        for name in _SOURCES
    },
    "guidance_scale": ({"type": "number"}, "weight of the audio, 1 to 20"),
    "num_inference_steps": ({"type": "integer"}, "denoising steps"),
    "seed": ({"type": "integer"}, "of the noise; equal seeds and inputs give equal results"),
    "loop_mode": ({"type": "string", "enum": list(SYNC_MODES)}, "length of the result if video and audio differ"),
    "face": ({"type": "string"}, "largest, only, left, right, an index from the left, x,y, person1, all or speaker"),
    "silence": ({"type": "string", "enum": list(SILENCE)}, "what moves the mouth where nobody speaks"),
    "webhook_url": ({"type": "string"}, "an address on an allowed host that is told the end of the job"),
}
"""Schema and description of each field besides the files."""


@dataclass(frozen=True)
class DubRequest:
    """Checked fields of a request.

    Attributes:
        sources: for each of `INPUTS` that is not uploaded, (how, value): ("url", address) or ("path", path).
        options: fields of `LipsyncOptions` that differ from the defaults of the server.
        webhook_url: address that is told the end of the job, or None.
    """

    sources: Mapping[str, tuple[str, str]]
    options: Mapping[str, Any]
    webhook_url: str | None = None

    @classmethod
    def of(cls, form: ReceivedForm, defaults: LipsyncOptions) -> "DubRequest":
        """Check the fields of a form.

        Raises:
            InputError: a field is unknown, missing, given twice, or has a wrong type.
            ConfigError: an option is out of range.
        """
        fields = {name: value for name, value in form.fields.items() if value not in (None, "")}
        for name in fields:
            if name not in FIELDS:
                raise InputError(f"there is no field {name[:40]!r}: the fields are video, audio, {', '.join(FIELDS)}")
        sources = {name: _source(name, fields) for name in INPUTS if _is_named(name, form, fields)}
        options: dict[str, Any] = {name: _number(name, fields[name]) for name in _NUMBERS if name in fields}
        options |= {option: _text(name, fields[name]) for name, option in _TEXTS.items() if name in fields}
        replace(defaults, **options)  # checks their ranges
        return cls(sources, options, _text("webhook_url", fields["webhook_url"]) if "webhook_url" in fields else None)


def _is_named(name: str, form: ReceivedForm, fields: Mapping[str, Any]) -> bool:
    """Return True if an input is named by its address or path, and False if it was uploaded."""
    given = [field for field in (f"{name}_url", f"{name}_path") if field in fields]
    if len(given) + (name in form.files) != 1:
        raise InputError(f"give one of {name} (a file), {name}_url and {name}_path")
    return bool(given)


def _source(name: str, fields: Mapping[str, Any]) -> tuple[str, str]:
    how = "url" if f"{name}_url" in fields else "path"
    return how, _text(f"{name}_{how}", fields[f"{name}_{how}"])


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not value.isprintable():
        raise InputError(f"{name} must be text of at most {_MAX_TEXT} characters")
    return value


def _number(name: str, value: Any) -> float | int:
    try:
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise ValueError
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
        return number if _NUMBERS[name] is float else _integer(value)
    except (ValueError, OverflowError) as error:
        kind = "a number" if _NUMBERS[name] is float else "a whole number"
        raise InputError(f"{name} must be {kind}") from error


def _integer(value: str | float) -> int:
    if isinstance(value, float) and value != int(value):
        raise ValueError
    return int(value)
