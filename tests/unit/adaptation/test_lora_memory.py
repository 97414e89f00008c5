"""The memory count of an adaptation by LoRA: against measured tensors, and at the published size."""

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from face_alignment.detection.sfd.net_s3fd import s3fd
from face_alignment.models import FAN
from torch import nn

from benchmarks.weight_sizes import SD_VAE, WHISPER_TINY_DIMENSIONS
from latentsync.adaptation import lora_memory
from latentsync.adaptation.lora_memory import count_memory, describe_memory, meta_network
from latentsync.adaptation.network import add_lora
from latentsync.audio.whisper_model import WhisperEncoder, encoder_dimensions
from latentsync.config import load_config
from latentsync.device import DTYPES, building_on_meta
from latentsync.models.unet import UNet3DConditionModel
from latentsync.recipes.adaptation_run import AdaptationRun
from latentsync.training.optimizers import WeightAverage, build_optimizer
from latentsync.weights import REPOSITORY_ROOT
from tests.unit.models.tiny_unet import tiny_config, tiny_inputs

CPU, GIB = torch.device("cpu"), 1024**3
HALF = DTYPES["bfloat16"]


def adaptation(*overrides: str) -> AdaptationRun:
    return load_config(REPOSITORY_ROOT / "configs" / "unet" / "adapt.yaml", AdaptationRun, overrides)


def test_the_count_equals_the_tensors_of_a_training():
    run = adaptation("training.gradient_checkpointing=false", "adaptation.lora.rank=3")
    run.model = tiny_config()
    inputs = tiny_inputs(size=16)
    counted = count_memory(meta_network(run, HALF), run.training, *(value.to("meta") for value in inputs), HALF)
    network = add_lora(UNet3DConditionModel.from_unet_config(run.model), run, HALF)
    optimizer, average = build_optimizer(network, run.training.optimizer), WeightAverage(network, 0.9)
    network(inputs[0], torch.zeros(2, dtype=torch.long), inputs[1]).float().square().mean().backward()
    optimizer.step()
    trained = [weight for weight in network.parameters() if weight.requires_grad]
    frozen = [*(weight for weight in network.parameters() if not weight.requires_grad), *network.buffers()]
    moments = [value for state in optimizer.state.values() for value in state.values() if value.ndim]
    assert counted.base == total(frozen)
    assert counted.trained.weights == total(trained)
    assert counted.trained.gradients == total([weight.grad for weight in trained if weight.grad is not None])
    assert counted.trained.optimizer == total(moments)
    assert counted.trained.average == total(average.state_dict()["averages"])
    again = count_memory(network, run.training, *inputs, HALF)
    assert counted.activations == pytest.approx(again.activations, rel=0.05)
    assert counted.total == counted.base + counted.trained.total + counted.activations


def total(tensors: list[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_the_published_size_fits_a_card_of_12_gib_at_256_px():
    lines = describe_memory(adaptation("training.mixed_precision=bf16"), CPU)
    assert lines[0] == "LoRA: 16.8 M parameters train"
    assert "memory at 256 px, batch size 1, counted: 4." in lines[1]
    assert "frozen U-Net in bfloat16 2.36;" in lines[1], "1.267e9 weights of two bytes"
    assert "it fits into 12 GiB" in lines[1]
    assert len(lines) == 2


@pytest.mark.long
def test_large_batches_do_not_fit_and_other_formats_are_counted_too():
    changes = ("training.batch_size=2", "training.gradient_checkpointing=false", "training.mixed_precision=no")
    lines = describe_memory(adaptation(*changes, "losses.sync.weight=0.1"), CPU)
    assert "it does not fit into 12 GiB" in lines[1]
    assert "memory on this device: " in lines[2]
    assert "frozen U-Net in float32 4.72;" in lines[2]
    assert "losses on pixels are not counted" in lines[3]
    assert describe_memory(adaptation("adaptation.lora.rank=null"), CPU) == []


def test_the_sizes_of_the_other_published_networks():
    with building_on_meta():
        vae = AutoencoderKL.from_config(SD_VAE)
        dims = WHISPER_TINY_DIMENSIONS
        layers, heads = dims["n_audio_layer"], dims["n_audio_head"]
        whisper = WhisperEncoder(encoder_dimensions(dims["n_audio_state"], layers, heads))
        landmarks = (s3fd(), FAN(4))
    assert num_values(vae) == lora_memory.VAE_PARAMETERS
    assert num_values(whisper.encoder) == lora_memory.WHISPER_PARAMETERS
    assert sum(map(num_values, landmarks)) == lora_memory.LANDMARK_PARAMETERS


def num_values(network: nn.Module) -> int:
    return sum(value.numel() for value in (*network.parameters(), *network.buffers()))
