"""Load a lip-sync pipeline in one call, with the weights and options that `./inference.sh` would use."""

from pathlib import Path

from latentsync.pipelines.lipsync_pipeline import LipsyncPipeline
from latentsync.recipes.lipsync import LipsyncBuild, build_pipeline, choose_weights


def load_pipeline(
    config: Path | str | None = None,
    unet: Path | str | None = None,
    adapted: Path | str | None = None,
    *,
    preset: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    detector: str = "auto",
) -> LipsyncPipeline:
    """Load all networks; the pipeline's `default_options` are those of the preset.

    Args:
        config, unet: configuration and checkpoint of the U-Net, both or neither. By default the published weights are
            used if all of their files are present, otherwise the demo weights.
        adapted: folder of weights adapted to one person (`adapt.sh`), instead of both.
        preset: ``exact``, ``balanced``, ``fast`` or ``fastest``; by default that of the configuration.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``.
        detector: ``auto``, ``mtcnn`` or ``face_alignment``.

    Raises:
        InputError: only one of `config` and `unet` is given, or the device cannot be used.
        ConfigError: the configuration cannot be read, or the preset is unknown.
        CheckpointError: weights are missing or do not fit the configuration.
        DeviceMemoryError: the networks do not fit into the memory of the device.
    """
    config, unet, adapted = (None if path is None else Path(path) for path in (config, unet, adapted))
    weights = choose_weights(config, unet, adapted)
    build = LipsyncBuild.of(weights, device, dtype, detector)
    preset = preset or build.default_preset
    pipeline = build_pipeline(build.with_networks_of(preset))
    pipeline.default_options = build.default_options(preset=preset)
    return pipeline
