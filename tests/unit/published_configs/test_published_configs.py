"""YAMLs with published keys are translated, or refused in one line with the remedy."""

import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from latentsync.config import load_config
from latentsync.errors import ConfigError
from latentsync.models.stable_syncnet import SyncEncoderConfig
from latentsync.models.syncnet_input import read_syncnet_config
from latentsync.recipes.adaptation_run import AdaptationRun
from latentsync.recipes.lipsync import SECTIONS, LipsyncBuild
from latentsync.recipes.syncnet_run import SyncNetRun
from latentsync.recipes.unet_run import UNetRun
from latentsync.training.unet_step import DiffusionConfig
from tests.published_yaml import published_syncnet, published_unet, write_yaml


def unet(tmp_path: Path, *overrides: str, **changes) -> UNetRun:
    return load_config(write_yaml(tmp_path / "stage2_512.yaml", published_unet(), **changes), UNetRun, overrides)


def syncnet(tmp_path: Path, **changes) -> SyncNetRun:
    return load_config(write_yaml(tmp_path / "attn.yaml", published_syncnet(), **changes), SyncNetRun)


def test_a_unet_configuration_has_the_network_of_ours(tmp_path: Path, repository: Path):
    ours = load_config(repository / "configs/unet/stage2_512.yaml", UNetRun)
    run = unet(tmp_path)
    assert run.model.attention_levels == [0, 1, 2]
    run.model.attention_levels = None
    assert run.model == ours.model
    assert (run.vae, run.audio, run.initial, run.trainable) == (ours.vae, ours.audio, ours.initial, ours.trainable)
    assert run.losses == ours.losses
    assert (run.data.resolution, run.data.num_frames, run.data.num_mel_columns) == (512, 16, 52)


def test_a_unet_configuration_says_how_to_train(tmp_path: Path):
    run = unet(tmp_path)
    training = run.training
    assert run.data.train_clips == "lists/train.txt"
    assert (training.run_dir, training.max_steps) == ("debug/unet/stage2_512", 10000000)
    assert (training.batch_size, training.num_workers, training.seed) == (2, 12, 1247)
    assert (training.optimizer.lr, training.max_grad_norm) == (2e-5, 0.5)
    assert (training.save_every, training.validate_every) == (10000, 10000)
    assert training.gradient_checkpointing
    assert training.mixed_precision == "auto"
    assert (training.schedule.name, training.schedule.warmup_steps) == ("constant", 0)
    assert run.diffusion == DiffusionConfig(shared_noise=[2.0])
    assert (run.run.inference_steps, run.run.guidance_scale) == (30, 2.5)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"run__pixel_space_supervise": False}, ("latent", 0.05, 0.0, 0.0)),
        ({"run__use_syncnet": False}, ("pixel", 0.0, 0.1, 10.0)),
        ({"run__trepa_loss_weight": 0}, ("pixel", 0.05, 0.1, 0.0)),
        ({"run__pixel_space_supervise": False, "run__use_syncnet": False}, ("pixel", 0.0, 0.0, 0.0)),
    ],
)
def test_what_supervises_decides_the_losses(tmp_path: Path, changes, expected):
    losses = unet(tmp_path, **changes).losses
    assert (losses.sync.space, losses.sync.weight, losses.perceptual.weight, losses.trepa.weight) == expected
    assert losses.epsilon.weight == 1.0


def test_other_values_with_a_clear_meaning(tmp_path: Path):
    assert unet(tmp_path, model__cross_attention_dim=768).audio.whisper == "checkpoints/whisper/small.pt"
    assert unet(tmp_path, model__use_motion_module=False, run__trainable_modules=None).trainable == []
    assert unet(tmp_path, run__use_mixed_noise=False).diffusion.shared_noise == [math.inf]
    assert unet(tmp_path, ckpt__resume_ckpt_path="").initial is None
    assert unet(tmp_path, run__mixed_precision_training=False).training.mixed_precision == "no"
    warm = unet(tmp_path, optimizer__lr_scheduler="cosine").training.schedule
    assert (warm.name, warm.warmup_steps) == ("cosine", 7)
    folder = unet(tmp_path, data__train_fileslist="", data__train_data_dir="clips")
    assert folder.data.train_clips == "clips"
    fewer = unet(tmp_path, model__motion_module_kwargs__temporal_position_encoding_max_len=16)
    assert fewer.model.motion_module_max_frames == 16


def test_the_command_line_goes_before_the_file(tmp_path: Path):
    run = unet(tmp_path, "training.batch_size=7", "initial=mine.pt", "losses.trepa.weight=0")
    assert (run.training.batch_size, run.initial, run.losses.trepa.weight) == (7, "mine.pt", 0.0)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model__act_fn": "gelu"}, "model.act_fn is gelu, which has no equivalent here: write act_fn: silu"),
        ({"model__norm_eps": 1e-6}, "write norm_eps: 1e-05"),
        ({"model__motion_module_type": "Other"}, "write motion_module_type: Vanilla"),
        ({"model__motion_module_kwargs__num_attention_heads": 4}, "write num_attention_heads: 8"),
        ({"model__motion_module_kwargs__attention_block_types": ["Temporal_Self"]}, "[Temporal_Self, Temporal_Self]"),
        ({"model__down_block_types": ["AttnDownBlock3D"] * 4}, "write a list of CrossAttnDownBlock3D and DownBlock3D"),
        ({"model__down_block_types": ["DownBlock3D"] * 3}, "name as many blocks as block_out_channels, 4"),
        ({"model__up_block_types": ["UpBlock3D"] * 4}, "write up_block_types: [UpBlock3D, CrossAttnUpBlock3D,"),
        ({"model__cross_attention_dim": 512}, "write 384 (whisper/tiny.pt) or 768 (whisper/small.pt)"),
        ({"data__audio_feat_length": [2, 3]}, "data.audio_feat_length is [2, 3], which has no equivalent here: write"),
        ({"data__audio_sample_rate": 44100}, "write audio_sample_rate: 16000"),
        ({"optimizer__scale_lr": True}, "write scale_lr: false"),
        ({"optimizer__lr_scheduler": "polynomial"}, "write one of constant, constant_with_warmup, linear, cosine"),
        ({"run__max_train_steps": -1}, "write the number of steps instead of max_train_epochs"),
        ({"run__pixel_space_supervise": None}, "run.pixel_space_supervise is missing: write true"),
        ({"run__trainable_modules": None}, "run.trainable_modules is missing: list parts of the names"),
        (
            {"run__colour_loss_weight": 3},
            "run.colour_loss_weight is not a key of the published configurations: delete",
        ),
        ({"training": {"batch_size": 3}}, "mixes keys of the published configurations (ckpt) with this repository's"),
    ],
)
def test_what_has_no_equivalent_is_refused_with_what_to_write(tmp_path: Path, changes, named):
    with pytest.raises(ConfigError) as caught:
        unet(tmp_path, **changes)
    assert named in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "stage2_512.yaml"))
    assert "\n" not in str(caught.value)


def test_ignored_keys_are_named_in_one_line_once(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    unet(tmp_path)
    unet(tmp_path)
    (record,) = caplog.records
    named = {
        "data.audio_embeds_cache_dir", "data.audio_mel_cache_dir", "data.mask_image_path", "data.val_video_path",
        "data.val_audio_path", "model.sample_size",
    }  # fmt: skip
    assert set(record.getMessage().split("ignored: ")[1].split(", ")) == named


def build_of(config: Path) -> LipsyncBuild:
    return LipsyncBuild(config, Path("any.pt"), torch.device("cpu"), torch.float32)


def test_inference_reads_the_network_and_looks_at_nothing_of_the_training(tmp_path: Path):
    path = write_yaml(
        tmp_path / "mine.yaml", published_unet(), optimizer__lr_scheduler="polynomial", run__max_train_steps=-1
    )
    run = load_config(path, UNetRun, sections=SECTIONS)
    assert (run.data.resolution, run.model.use_motion_module, run.audio.whisper[-7:]) == (512, True, "tiny.pt")
    options = build_of(path).default_options()
    assert (options.num_inference_steps, options.guidance_scale) == (30, 2.5)
    write_yaml(path, published_unet(), model__act_fn="gelu")
    with pytest.raises(ConfigError, match="write act_fn: silu"):
        build_of(path).default_options()


def test_what_inference_reads_is_enough_without_the_sections_of_the_training(tmp_path: Path):
    content = published_unet()
    del content["ckpt"], content["optimizer"]
    run = load_config(write_yaml(tmp_path / "short.yaml", content), UNetRun, sections=SECTIONS)
    assert run.model.motion_module_max_frames == 24


def test_a_file_of_ours_may_stand_on_a_published_one(tmp_path: Path):
    write_yaml(tmp_path / "published.yaml", published_unet())
    (tmp_path / "mine.yaml").write_text("base: published.yaml\ntraining: {batch_size: 5}\n")
    run = load_config(tmp_path / "mine.yaml", UNetRun)
    assert (run.training.batch_size, run.training.num_workers, run.data.resolution) == (5, 12, 512)


def test_every_configuration_of_ours_is_left_unchanged(repository: Path, caplog: pytest.LogCaptureFixture):
    for path in sorted((repository / "configs").glob("*/*.yaml")):
        schema = {"unet": UNetRun, "syncnet": SyncNetRun}.get(path.parent.name)
        if path.stem == "adapt":
            schema = AdaptationRun
        if schema:
            load_config(path, schema)
    assert caplog.records == []


def test_a_syncnet_configuration_is_read(tmp_path: Path, repository: Path):
    run, ours = syncnet(tmp_path), load_config(repository / "configs/syncnet/syncnet_16_pixel_attn.yaml", SyncNetRun)
    assert run.model == ours.model
    expected = asdict(ours.data) | {"train_clips": "clips/train", "validation_clips": "clips/val"}
    assert asdict(run.data) == expected
    training = run.training
    assert (training.run_dir, training.max_steps, training.seed) == ("debug/syncnet/attn", 5000, 42)
    assert (training.batch_size, training.gradient_accumulation, training.num_workers) == (64, 4, 12)
    assert (training.validate_every, training.save_every, training.mixed_precision) == (1250, 2500, "no")
    assert run.initial is None


def test_a_syncnet_of_25_frames_takes_80_columns(tmp_path: Path):
    assert syncnet(tmp_path, data__num_frames=25).data.num_mel_columns == 80


def test_a_published_syncnet_serves_the_sync_loss(tmp_path: Path, repository: Path):
    path = write_yaml(tmp_path / "attn.yaml", published_syncnet())
    model, syncnet_input = read_syncnet_config(path)
    ours, our_input = read_syncnet_config(repository / "configs/syncnet/syncnet_16_pixel_attn.yaml")
    assert (model, syncnet_input) == (ours, our_input)
    sync = unet(tmp_path, data__syncnet_config_path=str(path)).losses.sync
    assert (sync.config, sync.checkpoint) == (str(path), "somewhere/syncnet.pt")
    write_yaml(path, published_syncnet(), ckpt__inference_ckpt_path="")
    with pytest.raises(ConfigError, match="inference_ckpt_path is empty: write where its weights are"):
        unet(tmp_path, data__syncnet_config_path=str(path))


def test_downsample_factors_may_be_single_numbers():
    config = SyncEncoderConfig(1, [32, 32, 32], [[2, 1], 2, 1])
    assert config.downsample_factors == [[2, 1], [2, 2], [1, 1]]
    for wrong in ([0, 2, 2], [[2, 2, 2], 2, 2], ["2", 2, 2], [2.5, 2, 2]):
        with pytest.raises(ValueError, match="downsample_factors must be pairs"):
            SyncEncoderConfig(1, [32, 32, 32], wrong)
