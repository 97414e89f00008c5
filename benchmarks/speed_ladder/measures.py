"""Quality of a generated dub against the same person rendered with the driving speech."""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from benchmarks.speed_ladder.dubs import Dub
from eval.metrics.metric import Quantity
from eval.stored_results import Values
from latentsync.face.mask import keep_mask
from latentsync.judges.crop_measures import correlation, edge_step, feather_reach, flicker, lab, mouth_psnr_db
from latentsync.judges.mouth_reader import MouthReader, load_mouth_reader, read_mouth
from latentsync.judges.stable_sync_scorer import StableSyncScorer, in_sync_similarity, load_stable_sync_scorer
from latentsync.weights import CHECKPOINTS, REPOSITORY_ROOT

MOUTH_READER = CHECKPOINTS / "demo" / "mouth_reader.pt"
SYNCNET = CHECKPOINTS / "demo" / "stable_syncnet.pt"
SYNCNET_CONFIG = REPOSITORY_ROOT / "configs" / "demo" / "syncnet.yaml"

QUANTITIES = (
    Quantity("opening", "", True, "correlation of the mouth's opening with that of the driving speech"),
    Quantity("width", "", True, "correlation of the mouth's width with that of the driving speech"),
    Quantity("sync", "", True, "sync score over the truth's"),
    Quantity("mouth_psnr", "dB", True, "PSNR of the mouth region to the truth"),
    Quantity("colour", "", False, "distance of the blurred generated region to the truth's in the a-b plane of Lab"),
    Quantity("edge", "", False, "colour step across the edge of the mask over the truth's"),
    Quantity("flicker", "", None, "flicker of the mouth region over the truth's", ideal=1.0),
)

_BLUR_SHARE = 1 / 24
"""Standard deviation of the blur as a share of the crop's side: teeth and lips vanish, blotches remain."""


@dataclass(frozen=True)
class Measures:
    """The frozen networks that measure dubs."""

    reader: MouthReader
    scorer: StableSyncScorer

    @classmethod
    def load(cls) -> "Measures":
        """Load the demo networks on the CPU; they measure dubs of all weights.

        Raises:
            CheckpointError: a file is missing.
        """
        return cls(load_mouth_reader(MOUTH_READER), load_stable_sync_scorer(SYNCNET_CONFIG, SYNCNET))

    def __call__(self, dub: Dub, crops: np.ndarray) -> Values:
        """Return the value of each of `QUANTITIES` for generated crops (f, R, R, 3) uint8."""
        truth = self._of_truth(dub)
        mouth, track = read_mouth(self.reader, crops), dub.driver.frames_track[: len(crops)]
        return {
            "opening": correlation(mouth[:, 0], track[:, 0]),
            "width": correlation(mouth[:, 1], track[:, 1]),
            "sync": self._sync(dub, crops) / truth["sync"],
            "mouth_psnr": mouth_psnr_db(crops, dub.truth),
            "colour": blurred_chroma_error(crops, dub.truth),
            "edge": edge_step(crops, feather_reach(crops.shape[1])) / truth["edge"],
            "flicker": flicker(crops) / truth["flicker"],
        }

    @cache  # noqa: B019 - lives as long as the process
    def _of_truth(self, dub: Dub) -> Values:
        truth = dub.truth
        return {
            "sync": self._sync(dub, truth),
            "edge": edge_step(truth, feather_reach(truth.shape[1])),
            "flicker": flicker(truth),
        }

    def _sync(self, dub: Dub, crops: np.ndarray) -> float:
        return in_sync_similarity(self.scorer.curve(crops, dub.speech))


def blurred_chroma_error(crops: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean distance in the a-b plane of Lab over the generated region, both stacks blurred within it.

    Lip shape and sharpness hardly affect it; blotches and colour casts do, which sync and mouth opening overlook.

    Args:
        crops, truth: (f, R, R, 3) uint8.
    """
    inside = 1 - keep_mask(crops.shape[1]).numpy()
    sigma = _BLUR_SHARE * crops.shape[1]
    weight = cv2.GaussianBlur(inside, (0, 0), sigma)
    errors = []
    for frame, other in zip(crops, truth, strict=True):
        difference = (lab(frame) - lab(other))[..., 1:] * inside[..., None]
        blurred = cv2.GaussianBlur(difference, (0, 0), sigma) / np.maximum(weight, 1e-6)[..., None]
        errors.append(np.linalg.norm(blurred, axis=-1)[inside > 0].mean())
    return float(np.mean(errors))
