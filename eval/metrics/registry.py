"""Finds the metrics: every module of this folder that holds METRIC (one) or METRICS (several)."""

import pkgutil
from importlib import import_module

import eval.metrics
from eval.metrics.metric import AnyMetric
from latentsync.errors import InputError


def all_metrics() -> dict[str, AnyMetric]:
    """Every metric by name, in the order of the names.

    Raises:
        ValueError: two metrics, or two figures, have one name.
    """
    found: list[AnyMetric] = []
    for info in pkgutil.iter_modules(eval.metrics.__path__):
        module = import_module(f"{eval.metrics.__name__}.{info.name}")
        found += [module.METRIC] if hasattr(module, "METRIC") else getattr(module, "METRICS", ())
    for names in ([one.name for one in found], [figure.name for one in found for figure in one.figures]):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two metrics or figures are called {twice[0]!r}: rename one")
    return {one.name: one for one in sorted(found, key=lambda one: one.name)}


def choose_metrics(text: str) -> list[AnyMetric]:
    """What `--metrics` asks for: `all`, or names with commas between them, each once.

    Raises:
        InputError: a name is unknown, or none is given.
    """
    known = all_metrics()
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if names == ["all"]:
        return list(known.values())
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"unknown metric {unknown[0]!r}" if unknown else "no metric is named"
        raise InputError(f"{what}: use all, or some of {','.join(known)}")
    return [known[name] for name in names]
