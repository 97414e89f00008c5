"""Read the mouths of a rendered person by comparison with renderings of the same frames with other mouths.

A trained mouth reader reads unusual mouths less well than those it was trained on, in the rendered truth too. Here
the person, pose and light of every frame are known, so only the mouth has to be found: the truth is read almost without
error.
"""

from dataclasses import replace

import numpy as np

from demo.synthetic.clip import TalkingClip
from demo.synthetic.renderer import Renderer, State
from latentsync.judges.crop_measures import mouth_region

OPENINGS = np.linspace(0.0, 1.0, 15)
WIDTHS = (0.25, 0.5, 0.75)
_SUPERSAMPLING = 2.0


def render_mouths(clip: TalkingClip, matrices: np.ndarray, resolution: int) -> np.ndarray:
    """Return mouth regions (f, openings, widths, h, w, 3) uint8 of frames with every one of `OPENINGS` and `WIDTHS`.

    Args:
        clip: person, scene and the pose of each frame.
        matrices: (f, 2, 3) from the frame to the aligned crop.
        resolution: side of the crop in pixels.
    """
    renderer = Renderer(clip.person, clip.scene, density=50.0 * _SUPERSAMPLING * resolution / 128.0)
    size, frame_size = (resolution, resolution), (clip.frame_size, clip.frame_size)

    def crop(state: State, matrix: np.ndarray, opening: float, width: float) -> np.ndarray:
        other = replace(state, opening=opening, width=width)
        return renderer.render(other, matrix.astype(np.float32), size, frame_size, _SUPERSAMPLING)

    frames = []
    for state, matrix in zip(clip.states, matrices, strict=True):
        crops = np.stack([crop(state, matrix, opening, width) for opening in OPENINGS for width in WIDTHS])
        mouths = mouth_region(crops)
        frames.append(mouths.reshape(len(OPENINGS), len(WIDTHS), *mouths.shape[1:]))
    return np.stack(frames)


def closest_openings(crops: np.ndarray, mouths: np.ndarray) -> np.ndarray:
    """Return the opening (f,) of the rendering with the least squared error to each crop.

    Between neighbouring `OPENINGS` it is interpolated by the parabola through the three smallest errors.

    Args:
        crops: (f, R, R, 3) uint8.
        mouths: see `render_mouths`; later frames than those of the crops are ignored.
    """
    result = []
    for crop, rendered in zip(mouth_region(crops), mouths, strict=False):
        errors = np.square(rendered.astype(np.float32) - crop).mean(axis=(2, 3, 4)).min(axis=1)
        best = int(np.clip(errors.argmin(), 1, len(errors) - 2))
        before, here, after = errors[best - 1 : best + 2]
        bend = before - 2 * here + after
        shift = 0.5 * (before - after) / bend if bend > 0 else float(errors.argmin() - best)
        step = OPENINGS[1] - OPENINGS[0]
        result.append(float(np.clip(OPENINGS[best] + np.clip(shift, -1, 1) * step, 0, 1)))
    return np.array(result)
