import warnings
from pathlib import Path

import lpips
import pytest
import torch
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from latentsync.errors import CheckpointError
from latentsync.judges.perceptual_distance import VaeEncoderDistance, load_vgg_lpips
from tests.golden_values import det
from tests.unit.losses.tiny_losses import tiny_codec

_TAPS = (3, 8, 15, 22, 29)


@pytest.fixture(scope="module")
def backbone() -> nn.Sequential:
    torch.manual_seed(0)
    return make_layers(cfgs["D"]).requires_grad_(False)


@pytest.fixture(scope="module")
def backbone_file(backbone, tmp_path_factory) -> Path:
    """A file with torchvision's names, and a layer of the classifier, which must be ignored."""
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    weights = {f"features.{name}": tensor for name, tensor in backbone.state_dict().items()}
    torch.save(weights | {"classifier.0.bias": torch.zeros(3)}, path)
    return path


def reference_distance(backbone: nn.Sequential, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """LPIPS written from the paper: weighted squared differences of unit features after five ReLUs."""
    linear = torch.load(Path(lpips.__file__).parent / "weights/v0.1/vgg.pth", map_location="cpu", weights_only=True)
    shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
    scale = torch.tensor([0.458, 0.448, 0.450])[:, None, None]
    seen, real = (images - shift) / scale, (targets - shift) / scale
    total = torch.zeros(len(images))
    for index, layer in enumerate(backbone):
        seen, real = layer(seen), layer(real)
        if index in _TAPS:
            a, b = (x / x.square().sum(1, keepdim=True).sqrt() for x in (seen, real))
            total += ((a - b).square() * linear[f"lin{_TAPS.index(index)}.model.1.weight"]).sum(1).mean((1, 2))
    return total


def test_agrees_with_the_paper(backbone, backbone_file):
    images, targets = torch.tanh(det("lpips/a", (2, 3, 32, 48))), torch.tanh(det("lpips/b", (2, 3, 32, 48)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = load_vgg_lpips(backbone_file)
    found = network(images, targets)
    torch.testing.assert_close(found, reference_distance(backbone, images, targets), rtol=1e-4, atol=1e-7)
    assert network(images, images).abs().max() == 0
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_file_of_another_network_is_an_error(tmp_path):
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "vgg.pth")
    with pytest.raises(CheckpointError, match="lacks"):
        load_vgg_lpips(tmp_path / "vgg.pth")
    with pytest.raises(CheckpointError, match="does not exist"):
        load_vgg_lpips(tmp_path / "none.pth")


@pytest.mark.parametrize("kind", ["black_in_every_channel", "half_precision", "autocast"])
def test_distances_and_gradients_are_finite_float32(kind, backbone_file):
    network = load_vgg_lpips(backbone_file)
    if kind == "black_in_every_channel":  # every ReLU gives 0: the root in lpips' normalisation has no gradient there
        for name, parameter in network.network.net.named_parameters():
            if name.endswith("bias"):
                parameter.fill_(-100.0)
    dtype = torch.float16 if kind == "half_precision" else torch.float32
    images = torch.tanh(det("lpips/a", (1, 3, 32, 32))).to(dtype).requires_grad_()
    targets = torch.tanh(det("lpips/b", (1, 3, 32, 32))).to(dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
        distance = network(images, targets)
    distance.sum().backward()
    assert distance.dtype == torch.float32
    assert images.grad is not None
    assert images.grad.isfinite().all()
    assert (images.grad.abs().sum() > 0) == (kind != "black_in_every_channel")
    expected = load_vgg_lpips(backbone_file).network(images.detach().float(), targets.float()).flatten()
    if kind != "black_in_every_channel":
        assert torch.equal(distance.detach(), expected)


def distance_and_vae():
    vae = tiny_codec().vae
    return VaeEncoderDistance(vae.encoder), vae


def test_vae_features_are_the_encoders_own():
    distance, vae = distance_and_vae()
    images = torch.tanh(det("vae_distance/images", (2, 3, 32, 64)))
    features = distance.features(images)
    assert [tuple(level.shape[1:]) for level in features] == [(8, 32, 64), (8, 16, 32), (8, 8, 16)]
    hidden = vae.encoder.mid_block(features[-1])  # nothing is halved after the last level, so the encoder goes on here
    moments = vae.quant_conv(vae.encoder.conv_out(vae.encoder.conv_act(vae.encoder.conv_norm_out(hidden))))
    torch.testing.assert_close(moments[:, :4], vae.encode(images).latent_dist.mean)


def test_vae_distance_is_zero_for_equal_images_and_grows_with_noise():
    distance, _ = distance_and_vae()
    images, noise = torch.tanh(det("vae_distance/a", (2, 3, 32, 64))), det("vae_distance/b", (2, 3, 32, 64))
    assert distance(images, images).tolist() == [0, 0]
    near, far = distance(images + 0.05 * noise, images), distance(images + 0.5 * noise, images)
    assert (near > 0).all()
    assert (far > 2 * near).all()


def test_the_gradient_of_the_vae_distance_reaches_the_image_alone():
    distance, _ = distance_and_vae()
    images = torch.tanh(det("vae_distance/a", (1, 3, 32, 32))).requires_grad_()
    targets = torch.zeros(1, 3, 32, 32, requires_grad=True)
    distance(images, targets).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert targets.grad is None


def test_an_encoder_in_half_precision_is_copied_to_float32():
    vae = tiny_codec().vae
    assert VaeEncoderDistance(vae.encoder).encoder is vae.encoder
    vae.bfloat16()
    distance = VaeEncoderDistance(vae.encoder)
    images = torch.tanh(det("vae_distance/a", (1, 3, 32, 32))).bfloat16()
    assert {level.dtype for level in distance.features(images)} == {torch.float32}
    assert vae.encoder.conv_in.weight.dtype == torch.bfloat16
