import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny

from latentsync.errors import CheckpointError, DeviceMemoryError
from latentsync.models.vae import LatentCodec, VaeShape, load_vae, read_vae_shape
from tests.golden_values import det, fill_deterministic


@pytest.fixture
def vae() -> AutoencoderKL:
    vae = AutoencoderKL(
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        latent_channels=3,
        scaling_factor=0.5,
        shift_factor=0.25,
    )
    return fill_deterministic(vae).eval().requires_grad_(False)


@pytest.fixture
def folder(vae, tmp_path):
    vae.save_pretrained(tmp_path / "my vae")
    return tmp_path / "my vae"


def test_sizes_and_scaling(vae):
    codec = LatentCodec(vae)
    images = det("vae/images", (3, 3, 16, 24)).tanh()
    latents = codec.encode(images)
    assert (codec.latent_channels, codec.factor) == (3, 4)
    assert latents.shape == (3, 3, 4, 6)
    assert torch.allclose(latents, (vae.encode(images).latent_dist.mode() - 0.25) * 0.5)
    assert torch.allclose(codec.decode(latents), vae.decode(latents / 0.5 + 0.25).sample)


def test_batches_change_nothing(vae):
    codec = LatentCodec(vae)
    images = det("vae/images", (5, 3, 16, 16)).tanh()
    latents = codec.encode(images, batch_size=5)
    assert torch.allclose(codec.encode(images, batch_size=2), latents, atol=1e-5)
    assert torch.allclose(codec.decode(latents, batch_size=2), codec.decode(latents, batch_size=5), atol=1e-5)


class SmallDevice:
    """Raises an out-of-memory error for batches larger than its room."""

    def __init__(self, vae: AutoencoderKL, room: int, error: Exception) -> None:
        self.room, self.error = room, error
        self.largest = 0
        vae.encode, vae.decode = self.limited(vae.encode), self.limited(vae.decode)

    def limited(self, function):
        def call(batch: torch.Tensor, **options):
            if len(batch) > self.room:
                raise self.error
            self.largest = max(self.largest, len(batch))
            return function(batch, **options)

        return call


CUDA_ERROR = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4.00 GiB.")
MPS_ERROR = RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB)")


@pytest.mark.parametrize("error", [CUDA_ERROR, MPS_ERROR])
@pytest.mark.parametrize("room", [4, 3, 1])
def test_out_of_memory_halves_the_batch_with_one_warning(vae, caplog, error: Exception, room: int):
    codec = LatentCodec(vae)
    images = det("vae/images", (11, 3, 16, 16)).tanh()
    latents = codec.encode(images)
    decoded = codec.decode(latents)
    device = SmallDevice(vae, room, error)
    with torch.inference_mode():
        assert torch.allclose(codec.encode(images), latents, atol=1e-5)
        assert torch.allclose(codec.decode(latents), decoded, atol=1e-5)
    fitting = 2 if room == 3 else room
    assert device.largest == fitting
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"ran out of memory on cpu with 8 images per batch: it uses {fitting} per batch" in caplog.text


def test_too_little_memory_for_one_image_is_one_line(vae):
    codec = LatentCodec(vae)
    SmallDevice(vae, 0, CUDA_ERROR)
    with pytest.raises(DeviceMemoryError, match=r"^the VAE ran out of memory on cpu$"):
        codec.encode(torch.zeros(2, 3, 16, 16))
    with pytest.raises(DeviceMemoryError, match=r"^the VAE ran out of memory on cpu$"):
        codec.decode(torch.zeros(2, 3, 4, 4))


def test_with_gradients_nothing_is_retried(vae):
    codec = LatentCodec(vae)
    device = SmallDevice(vae, 1, CUDA_ERROR)
    with pytest.raises(DeviceMemoryError):
        codec.decode(torch.zeros(2, 3, 4, 4, requires_grad=True))
    assert device.largest == 0


def test_drawn_latents_do_not_depend_on_the_batch(vae):
    codec = LatentCodec(vae)
    images = det("vae/images", (5, 3, 16, 16)).tanh()
    drawn = [codec.encode(images, size, torch.Generator().manual_seed(1)) for size in (5, 2)]
    assert torch.allclose(*drawn, atol=1e-5)


def test_sampling_needs_a_generator(vae):
    codec = LatentCodec(vae)
    images = det("vae/images", (2, 3, 16, 16)).tanh()
    drawn = [codec.encode(images, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(codec.encode(images), codec.encode(images))


def test_loads_a_folder(vae, folder):
    codec = load_vae(folder, dtype=torch.bfloat16)
    assert codec.vae.dtype == torch.bfloat16
    assert codec.encode(torch.zeros(1, 3, 16, 16)).dtype == torch.bfloat16
    images = det("vae/images", (1, 3, 16, 16)).tanh()
    assert torch.allclose(load_vae(folder).encode(images), LatentCodec(vae).encode(images), atol=1e-5)


def test_a_tiny_vae_takes_and_gives_scaled_latents(tmp_path):
    channels, blocks = (8, 8, 8), (0, 1, 1)
    tiny = AutoencoderTiny(
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        num_encoder_blocks=blocks,
        num_decoder_blocks=blocks,
        latent_channels=3,
    )
    fill_deterministic(tiny).save_pretrained(tmp_path)
    codec = load_vae(tmp_path)
    images = det("vae/images", (3, 3, 16, 24)).tanh()
    latents = codec.encode(images)
    assert read_vae_shape(tmp_path) == VaeShape(codec.latent_channels, codec.factor) == VaeShape(3, 4)
    assert torch.allclose(latents, tiny.encode(images).latents, atol=1e-5)
    assert torch.allclose(codec.decode(latents), tiny.decode(latents).sample, atol=1e-5)
    assert torch.equal(codec.encode(images, generator=torch.Generator().manual_seed(1)), latents)


def test_unusable_folders_are_named(folder, tmp_path):
    for path in ("nobody/no-such-vae", tmp_path / "none", folder / "config.json"):
        with pytest.raises(CheckpointError, match="not on this machine"):
            load_vae(path)
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_vae(tmp_path)
    weights = folder / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    for damaged in (whole[: len(whole) // 2], b""):
        weights.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="incomplete or damaged"):
            load_vae(folder)
    weights.unlink()
    with pytest.raises(CheckpointError, match="incomplete or damaged"):
        load_vae(folder)


def test_weights_must_fit_the_config(folder):
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"latent_channels": 3', '"latent_channels": 4'))
    with pytest.raises(CheckpointError, match="VAE in"):
        load_vae(folder)
