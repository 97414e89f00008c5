import pytest
import torch

from latentsync.diffusion.noise import mixed_noise, window_noise


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.mark.parametrize(("weight", "correlation"), [(0.0, 0.0), (1.0, 0.5), (2.0, 0.8), (float("inf"), 1.0)])
def test_mixed_noise_variance_and_correlation(weight, correlation):
    noise = mixed_noise((2, 4, 6, 48, 48), generators(1, 2), weight)
    assert noise.std() == pytest.approx(1, abs=0.02)
    frames = noise.transpose(1, 2).flatten(2)
    pairs = torch.stack([torch.corrcoef(window)[0, 1:] for window in frames])
    assert torch.allclose(pairs, torch.full_like(pairs, correlation), atol=0.04)


def test_mixed_noise_of_a_window_is_its_generators_alone():
    together = mixed_noise((2, 4, 3, 8, 8), generators(1, 2))
    alone = mixed_noise((1, 4, 3, 8, 8), generators(2))
    assert torch.equal(together[1:], alone)
    with pytest.raises(ValueError, match="one generator a window: 2, not 1"):
        mixed_noise((2, 4, 3, 8, 8), generators(1))


def test_window_noise_is_shared_by_frames_and_independent_of_sizes():
    noise = window_noise(3, 0, (2, 4, 16, 8, 8))
    assert torch.equal(noise, noise[:1, :, :1].expand_as(noise))
    assert torch.equal(noise[:1, :, :5], window_noise(3, 0, (1, 4, 5, 8, 8)))
    assert not torch.equal(noise, window_noise(4, 0, (2, 4, 16, 8, 8)))
    assert not torch.equal(noise, window_noise(3, 1, (2, 4, 16, 8, 8)))
    assert window_noise(-1, 0, (1, 4, 1, 64, 64)).std() == pytest.approx(1, abs=0.03)
