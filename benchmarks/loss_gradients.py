"""Compare the gradient of every loss term at the U-Net's output in the dtypes of training with that in float32.

    python -m benchmarks.loss_gradients

One window of a synthetic person at 128 px, the demo's frozen networks, and VGG-16 with the weights of
`checkpoints/auxiliary` where they are present, else with random ones. Prints a Markdown table: the norm of each
gradient divided by that in float32, and the cosine between the two.
"""

import sys
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from demo.synthetic.clip import TalkingClip
from latentsync.audio.mel import mel_window, syncnet_mel
from latentsync.cli import OneLineParser
from latentsync.data.video_window import model_pixels
from latentsync.device import frozen_dtype
from latentsync.diffusion.noise import predict_x0
from latentsync.diffusion.sampler import build_scheduler
from latentsync.judges.perceptual_distance import VggLpips
from latentsync.losses.build import VGG16_FILE, build_losses
from latentsync.losses.loss_config import (
    EpsilonLossConfig,
    LossesConfig,
    PerceptualLossConfig,
    SyncLossConfig,
    TrepaLossConfig,
)
from latentsync.losses.loss_stack import Prediction
from latentsync.models.vae import load_vae
from latentsync.storage.temporary_files import temporary_folder
from latentsync.weights import REPOSITORY_ROOT

DEMO = REPOSITORY_ROOT / "checkpoints" / "demo"
SPEECH = REPOSITORY_ROOT / "assets" / "demo1_audio.wav"
RESOLUTION, NUM_FRAMES, FPS, MEL_COLUMNS = 128, 16, 25, 52
PREDICTION_ERROR = 0.2
"""Standard deviation of the error of the predicted noise, whose own is 1."""
TIMESTEPS = (100, 500, 900)

OUTPUT_DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Dtype of the U-Net's prediction, and of its gradient, for each mixed precision."""
LOSS_SCALES = {"no": 1.0, "bf16": 1.0, "fp16": 2.0**16}
"""Initial factor of a GradScaler."""

_OFF = EpsilonLossConfig(weight=0)
TERMS = {
    "epsilon": LossesConfig(),
    "sync": LossesConfig(
        _OFF, sync=SyncLossConfig(1, "configs/demo/syncnet.yaml", "checkpoints/demo/stable_syncnet.pt")
    ),
    "perceptual (vae_encoder)": LossesConfig(_OFF, perceptual=PerceptualLossConfig(1, "vae_encoder")),
    "perceptual (vgg16)": LossesConfig(_OFF, perceptual=PerceptualLossConfig(1)),
    "trepa": LossesConfig(_OFF, trepa=TrepaLossConfig(1, "checkpoints/demo/videomae.pt")),
}
FEW_FRAMES = {"perceptual (vae_encoder)": 4, "perceptual (vgg16)": 2}
"""Number of frames for terms that process each frame alone: the table is the same in less time."""


@dataclass(frozen=True)
class GradientMatch:
    """Comparison of a gradient with that in float32.

    Attributes:
        norm: norm of the gradient with respect to the predicted noise, without the loss scale.
        norm_ratio: ratio of the norms.
        cosine: cosine of the angle between the gradients.
    """

    norm: float
    norm_ratio: float
    cosine: float


class GradientWindow:
    """A window of a synthetic person, and a noise prediction with an error, equal in all dtypes."""

    def __init__(self) -> None:
        with wave.open(str(SPEECH)) as file:
            speech = np.frombuffer(file.readframes(2 * file.getframerate()), np.int16).astype(np.float32) / 2**15
        frames = np.stack(list(TalkingClip(0, 0, 2.0, speech).crops(RESOLUTION)))[8 : 8 + NUM_FRAMES]
        self.pixels = torch.from_numpy(model_pixels(frames))[None]
        mel = syncnet_mel(speech).numpy()
        self.mel = torch.from_numpy(mel_window(mel, 8, FPS, MEL_COLUMNS, repeat_last=True))[None, None]
        with torch.no_grad():
            self.clean = load_vae(DEMO / "vae").encode(self.pixels[0]).transpose(0, 1)[None]
        generator = torch.Generator().manual_seed(0)
        self.noise = torch.randn(self.clean.shape, generator=generator)
        error = torch.randn(self.clean.shape, generator=generator)
        self.predicted_noise = (self.noise + PREDICTION_ERROR * error).bfloat16().float()

    def gradient(self, term: str, precision: str, timestep: int, root: Path = REPOSITORY_ROOT) -> torch.Tensor:
        """Return the gradient of one term with respect to the predicted noise in float32, without the loss scale.

        Args:
            term: a name of `TERMS`.
            precision: "no", "bf16" or "fp16", the mixed precision of training.
            timestep: timestep of the noise.
            root: folder that contains the VGG-16.
        """
        dtype = frozen_dtype(precision)
        codec = load_vae(DEMO / "vae", dtype=dtype)
        where = root if "vgg16" in term else REPOSITORY_ROOT
        losses = build_losses(TERMS[term], codec, "cpu", dtype, RESOLUTION, NUM_FRAMES, where)
        count = FEW_FRAMES.get(term, NUM_FRAMES)
        clean, noise, predicted = (part[:, :, :count] for part in (self.clean, self.noise, self.predicted_noise))
        leaf = predicted.to(OUTPUT_DTYPES[precision]).requires_grad_()
        scheduler, times = build_scheduler("ddim"), torch.tensor([timestep])
        noisy = scheduler.add_noise(clean, noise, times)
        total, _ = losses(
            Prediction(
                predicted_noise=leaf.float(),
                noise=noise,
                timestep=times,
                clean_estimate=predict_x0(noisy, leaf.float(), times, scheduler.alphas_cumprod),
                codec=codec,
                target_latents=clean,
                target_pixels=self.pixels[:, :count],
                mel=self.mel,
            )
        )
        (gradient,) = torch.autograd.grad(total * LOSS_SCALES[precision], leaf)
        return gradient.float() / LOSS_SCALES[precision]


def compare(gradient: torch.Tensor, reference: torch.Tensor) -> GradientMatch:
    """Compare a gradient with the reference in float64, so that small squares do not underflow."""
    ours, theirs = gradient.double().flatten(), reference.double().flatten()
    norm, expected = ours.norm(), theirs.norm()
    return GradientMatch(float(norm), float(norm / expected), float(ours @ theirs / (norm * expected)))


def vgg16_root(folder: Path) -> Path:
    """Return the repository if it contains the VGG-16, else `folder` with random weights written to it."""
    if (REPOSITORY_ROOT / VGG16_FILE).is_file():
        return REPOSITORY_ROOT
    with torch.device("meta"):
        layers = VggLpips().network.net.state_dict()
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, tensor in layers.items():  # slice2.5.weight is torchvision's features.5.weight
        fan_in = tensor[0].numel()
        spread = (2 / fan_in) ** 0.5 if tensor.ndim > 1 else 0.0
        weights["features." + name.split(".", 1)[1]] = spread * torch.randn(tensor.shape, generator=generator)
    (folder / VGG16_FILE).parent.mkdir(parents=True)
    torch.save(weights, folder / VGG16_FILE)
    return folder


def main(arguments: list[str] | None = None) -> int:
    """Print the table and return 0."""
    parser = OneLineParser(description="compare the gradients of the loss terms in each dtype with float32")
    parser.add_argument("--timesteps", type=int, nargs="+", default=list(TIMESTEPS), help="noise timesteps, 0 to 999")
    options = parser.parse_args(arguments)
    window = GradientWindow()
    rows = [
        "| term | timestep | norm in float32 | bf16: norm, cosine | fp16, scaled: norm, cosine |",
        "|---|---|---|---|---|",
    ]
    with temporary_folder(remedy="set TMPDIR to another folder") as folder:
        root = vgg16_root(folder)
        for term in TERMS:
            for timestep in options.timesteps:
                reference = window.gradient(term, "no", timestep, root)
                found = [compare(window.gradient(term, one, timestep, root), reference) for one in ("bf16", "fp16")]
                cells = [f"{one.norm_ratio:.4f}, {one.cosine:.5f}" for one in found]
                rows.append(f"| {term} | {timestep} | {float(reference.norm()):.2e} | {' | '.join(cells)} |")
    sys.stdout.write("\n".join(rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
