"""Settings of a ladder, and the measurement of one dub with one row, stored under a key of everything it depends on."""

import ast
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path

import numpy as np

from benchmarks.speed_ladder import measures, stages
from benchmarks.speed_ladder.dubs import Dub
from benchmarks.speed_ladder.measures import MOUTH_READER, SYNCNET, SYNCNET_CONFIG, Measures
from benchmarks.speed_ladder.rows import Row
from benchmarks.speed_ladder.stages import StageTimes, generate_dub
from eval.demo_weights.settings import files_key
from eval.stored_results import ResultStore, Values
from latentsync.audio.sample_source import ArraySamples
from latentsync.audio.whisper_features import WhisperFeatures
from latentsync.errors import CheckpointError, FileError, first_line
from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.recipes.lipsync import LipsyncBuild, build_pipeline, result_settings
from latentsync.recipes.lipsync_arguments import ChosenPipeline
from latentsync.storage.content_cache import ArrayCache, bytes_key, cache_key
from latentsync.weights import REPOSITORY_ROOT
from scripts.inference import build_parser

logger = logging.getLogger(__name__)

NUM_TILES = 8
"""Frames of a dub on the contact sheet."""

_LIBRARY = REPOSITORY_ROOT / "latentsync"
_CODE = (
    *(_LIBRARY / name for name in ("audio", "diffusion", "judges", "models")),
    *(_LIBRARY / "face" / name for name in ("mask.py", "paste.py")),
    *(_LIBRARY / "pipelines" / f"{name}.py" for name in ("crop_dubber", "synthesis", "window_stages", "windows")),
    *(Path(str(module.__file__)) for module in (measures, stages)),
)
"""Code on which the values depend."""


@dataclass(frozen=True)
class Ladder:
    """What is measured, and where results are stored. Pickled to the worker processes.

    Attributes:
        dubs: held-out dubs.
        weights: arguments of `./inference.sh` that name weights, device and dtype; a row may name others.
        out: folder of stored results and tables.
        num_sheets: number of dubs shown on contact sheets.
    """

    dubs: tuple[Dub, ...]
    weights: tuple[str, ...]
    out: Path
    num_sheets: int = 0

    def chosen(self, row: Row, seed: int = 0) -> ChosenPipeline:
        """Return the pipeline and options of a row; `seed` 0 is the seed of `./inference.sh`, 1 the next, ...

        Raises:
            LatentSyncError: weights are missing, or an argument is invalid.
        """
        chosen = ChosenPipeline.of(build_parser().parse_args([*self.weights, *row.arguments]))
        return replace(chosen, options=replace(chosen.options, seed=chosen.options.seed + seed))

    def key(self, row: Row, index: int, seed: int) -> str:
        """Return the key of the values of dub `index` with a row and a seed."""
        return cache_key(_measurement_key(), self._settings(row, seed), self.dubs[index].key)

    def stored(self, row: Row, index: int, seed: int) -> Values | None:
        """Return the stored values, or None."""
        return self._store.read(self.key(row, index, seed))

    def measure(self, row: Row, index: int, seed: int) -> None:
        """Generate a dub, measure it and store its values."""
        dub, chosen = self.dubs[index], self.chosen(row, seed)
        pipeline = _load_pipeline(chosen.build)
        crops = generate_dub(pipeline, dub.clip.crops, _features(pipeline, dub), chosen.options)
        key = self.key(row, index, seed)
        if index < self.num_sheets and seed == 0:
            self._tiles.get(key, lambda: crops[tile_frames(len(crops))])
        self._store.write(key, dict(_load_measures()(dub, crops)))

    def time(self, row: Row) -> StageTimes:
        """Generate the first dub with a row, and return the time of its stages."""
        dub, chosen = self.dubs[0], self.chosen(row)
        pipeline = _load_pipeline(chosen.build)
        times = StageTimes(pipeline.synthesizer.device)
        generate_dub(pipeline, dub.clip.crops, _features(pipeline, dub), chosen.options, times)
        return times

    def tiles(self, row: Row, index: int) -> np.ndarray | None:
        """Return the stored frames (n, R, R, 3) of a dub for the contact sheet, or None."""
        return self._tiles.read(self.key(row, index, 0))

    def time_key(self, row: Row) -> str:
        """Return the key of a row's time; new code does not make it outdated, `--time` measures it again."""
        return cache_key("time", self._settings(row, 0), self.dubs[0].key)

    def merged(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows whose weights exist, one for equal settings; its name lists all rows with its settings."""
        names: dict[str, list[str]] = {}
        first: dict[str, Row] = {}
        for row in rows:
            try:
                settings = self._settings(row, 0)
                self._check_resolution(row)
            except (CheckpointError, FileError) as error:
                logger.warning("row %s is skipped: %s", row.name, first_line(error))
                continue
            first.setdefault(settings, row)
            names.setdefault(settings, []).append(row.name)
        return [replace(row, name=" = ".join(names[settings])) for settings, row in first.items()]

    def _check_resolution(self, row: Row) -> None:
        """Raise CheckpointError if the weights that a row names do not fit the crops."""
        resolution, size = self.chosen(row).build.run.data.resolution, self.dubs[0].clip.crops.shape[1]
        if resolution != size:
            raise CheckpointError(f"its weights take crops of {resolution} px, not {size}")

    @cache  # noqa: B019 - one ladder per process
    def _settings(self, row: Row, seed: int) -> str:
        chosen = self.chosen(row, seed)
        return json.dumps(result_settings(chosen.build, chosen.options), sort_keys=True)

    @cached_property
    def _store(self) -> ResultStore:
        return ResultStore(self.out / "values")

    @cached_property
    def _tiles(self) -> ArrayCache:
        return ArrayCache(self.out / "tiles")


def tile_frames(num_frames: int) -> np.ndarray:
    """Return the indices of the frames on the contact sheet."""
    return np.linspace(0, num_frames - 1, NUM_TILES + 2).astype(int)[1:-1]


@cache
def _measurement_key() -> str:
    """Return the key of the measuring networks and of the code, regardless of comments and layout."""
    files = [path for place in _CODE for path in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    code = "".join(ast.dump(ast.parse(path.read_text(encoding="utf-8"))) for path in files)
    return cache_key(files_key([MOUTH_READER, SYNCNET, SYNCNET_CONFIG]), bytes_key(code.encode()))


@cache
def _load_measures() -> Measures:
    return Measures.load()


@lru_cache(maxsize=2)
def _load_pipeline(build: LipsyncBuild) -> LipsyncPipeline:
    return build_pipeline(build)


@lru_cache(maxsize=4)
def _features(pipeline: LipsyncPipeline, dub: Dub) -> WhisperFeatures:
    return WhisperFeatures(pipeline.audio_encoder, ArraySamples(dub.speech))
