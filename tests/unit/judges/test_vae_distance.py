import torch

from latentsync.judges.vae_distance import VaeEncoderDistance
from tests.golden_values import det
from tests.unit.losses.tiny_losses import tiny_codec


def judge_and_vae():
    vae = tiny_codec().vae
    return VaeEncoderDistance(vae.encoder), vae


def test_features_are_those_on_the_encoders_way():
    judge, vae = judge_and_vae()
    images = torch.tanh(det("vae_distance/images", (2, 3, 32, 64)))
    features = judge.features(images)
    assert [tuple(level.shape[1:]) for level in features] == [(8, 32, 64), (8, 16, 32), (8, 8, 16)]
    hidden = vae.encoder.mid_block(features[-1])  # nothing is halved after the last level, so the encoder goes on here
    moments = vae.quant_conv(vae.encoder.conv_out(vae.encoder.conv_act(vae.encoder.conv_norm_out(hidden))))
    torch.testing.assert_close(moments[:, :4], vae.encode(images).latent_dist.mean)


def test_equals_are_at_zero_and_nearer_pictures_are_nearer():
    judge, _ = judge_and_vae()
    images, noise = torch.tanh(det("vae_distance/a", (2, 3, 32, 64))), det("vae_distance/b", (2, 3, 32, 64))
    assert judge(images, images).tolist() == [0, 0]
    near, far = judge(images + 0.05 * noise, images), judge(images + 0.5 * noise, images)
    assert (near > 0).all()
    assert (far > 2 * near).all()


def test_the_gradient_goes_to_the_image_alone():
    judge, _ = judge_and_vae()
    images = torch.tanh(det("vae_distance/a", (1, 3, 32, 32))).requires_grad_()
    targets = torch.zeros(1, 3, 32, 32, requires_grad=True)
    judge(images, targets).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert targets.grad is None


def test_an_encoder_in_half_precision_is_copied_to_float32():
    vae = tiny_codec().vae
    assert VaeEncoderDistance(vae.encoder).encoder is vae.encoder
    vae.bfloat16()
    judge = VaeEncoderDistance(vae.encoder)
    images = torch.tanh(det("vae_distance/a", (1, 3, 32, 32))).bfloat16()
    assert {level.dtype for level in judge.features(images)} == {torch.float32}
    assert vae.encoder.conv_in.weight.dtype == torch.bfloat16
