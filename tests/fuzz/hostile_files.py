"""Strategies that make hostile files: real ones with damaged bytes, and made-up ones."""

import math
import pickle
import struct
from collections.abc import Callable, Sequence
from typing import Any

import torch
from hypothesis import strategies as st

INTERESTING = [
    b"\0" * 8,
    b"\xff" * 8,
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    struct.pack("<f", math.nan),
    b"mdat",
    b"moov",
]


@st.composite
def damaged(draw: st.DrawFn, seeds: Callable[[], Sequence[bytes]]) -> bytes:
    """A real file with bytes changed, cut out, put in, doubled or cut off; sometimes as it is."""
    content = bytearray(seeds()[draw(st.integers(0, len(seeds()) - 1))])
    for _ in range(draw(st.integers(0, 6))):
        if not content:
            break
        # damage near the beginning, where the headers are, is likelier
        limit = len(content) - 1 if draw(st.booleans()) else min(len(content) - 1, 512)
        at = draw(st.integers(0, limit))
        kind = draw(st.sampled_from(["flip", "patch", "cut", "insert", "double", "end"]))
        if kind == "flip":
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "patch":
            value = draw(st.sampled_from(INTERESTING) | st.binary(min_size=1, max_size=8))
            content[at : at + len(value)] = value
        elif kind == "cut":
            del content[at : at + draw(st.integers(1, 4096))]
        elif kind == "insert":
            content[at:at] = draw(st.binary(min_size=1, max_size=64))
        elif kind == "double":
            content[at:at] = content[at : at + draw(st.integers(1, 4096))]
        else:
            del content[at:]
    return bytes(content)


@st.composite
def wave_files(draw: st.DrawFn) -> bytes:
    """A RIFF header that says anything, and samples that may be anything."""
    kind = draw(st.sampled_from([1, 3, 6, 7, 17, 85, 0xFFFE, 0, 99]))
    channels = draw(st.sampled_from([0, 1, 2, 8, 255, 65535]))
    rate = draw(st.sampled_from([0, 30, 100, 8000, 16000, 44100, 192000, 2**31, 2**32 - 1]))
    bits = draw(st.sampled_from([0, 1, 8, 16, 24, 32, 64, 65535]))
    block = draw(st.sampled_from([0, 1, 2, 4, channels * bits // 8 % 65536]))
    values = st.floats(width=32, allow_nan=True, allow_infinity=True)
    samples = draw(st.lists(values, max_size=50).map(lambda row: struct.pack(f"<{len(row)}f", *row)) | st.binary())
    data = samples * draw(st.sampled_from([1, 10, 400]))
    size = draw(st.sampled_from([len(data), 0, 1, 2**31, 2**32 - 1]))
    layout = struct.pack("<HHIIHH", kind, channels, rate, rate * max(1, block) % 2**32, block, bits)
    body = b"WAVEfmt " + struct.pack("<I", len(layout)) + layout + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", draw(st.sampled_from([len(body), 0, 2**32 - 1]))) + body


class Bomb:
    """A pickle that would write a file where it is run."""

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return open, ("ran", "w")


ODD_TENSORS: list[Callable[[torch.Tensor], Any]] = [
    lambda tensor: tensor.long(),
    lambda tensor: tensor.to(torch.complex64),
    lambda tensor: tensor.float().to_sparse(),
    lambda tensor: tensor.to("meta"),
    lambda tensor: tensor[:1],
    lambda tensor: torch.full_like(tensor, math.nan),
    lambda tensor: torch.full_like(tensor, math.inf),
    lambda tensor: torch.full_like(tensor, 6e4),
    lambda tensor: tensor.double(),
    lambda tensor: tensor.bool(),
    lambda tensor: tensor.flatten(),
    lambda tensor: torch.zeros(0),
    lambda tensor: None,
    lambda tensor: [1.0],
    lambda tensor: {"a": tensor},
]
"""What may stand where a weight should be."""


@st.composite
def changed_weights(draw: st.DrawFn, load: Callable[[], dict[str, Any]], key: str) -> Any:
    """The content of a checkpoint with some entries replaced, removed, added or renamed."""
    content = load()
    weights = dict(content[key])
    names = sorted(name for name in weights if weights[name].is_floating_point())
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(names))
        kind = draw(st.sampled_from(["replace", "remove", "add", "name"]))
        if kind == "replace":
            weights[name] = draw(st.sampled_from(ODD_TENSORS))(content[key][name])
        elif kind == "remove":
            weights.pop(name, None)
        elif kind == "add":
            weights[draw(st.text(max_size=5) | st.integers() | st.none())] = torch.zeros(1)
        elif name in weights:
            weights[name + "."] = weights.pop(name)
    top = draw(st.sampled_from(["as it is", "bare", "list", "other key", "bomb", "text"]))
    return {
        "as it is": content | {key: weights},
        "bare": weights,
        "list": [weights],
        "other key": {"other": weights},
        "bomb": content | {key: weights, "bomb": Bomb()},
        "text": content | {key: "weights"},
    }[top]


def pickled(content: Any) -> bytes:
    """A bare pickle, as files from elsewhere may be."""
    return pickle.dumps(content)


def yaml_values() -> st.SearchStrategy[Any]:
    """Anything YAML may say, the extremes among it."""
    plain = st.sampled_from(
        [
            None,
            True,
            0,
            -1,
            1,
            3,
            16,
            64,
            2**31,
            10**30,
            0.5,
            -0.0,
            math.nan,
            math.inf,
            "",
            "a",
            "../x",
            "/",
            "\0",
            "1e9",
        ]
    ) | st.sampled_from(["${a}", "${oc.env:HOME}", "${oc.decode:1}", "???", "~", "!!python/object", "checkpoints"])
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "base", "model"]), inner),
        max_leaves=4,
    )
