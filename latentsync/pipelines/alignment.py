"""Where the nose correction of the alignment begins anew, and in which order it follows the frames."""

from collections.abc import Callable

import numpy as np

from latentsync.face.align import Aligner, alignment_matrices
from latentsync.face.face_plan import FacePlan

MatrixOf = Callable[[int], np.ndarray]
"""Returns the matrix (2, 3), frame to crop, of the next frame of a run, given its number in the source."""


def matrices_by_run(plan: FacePlan, resolution: int, exact: bool = False) -> Callable[[], MatrixOf]:
    """Builds the function that is called at the beginning of each run.

    By default the correction begins anew with each run and follows the frames of the result. With `exact` it follows
    the frames of the source, through cuts, and frames played backwards have the matrices they had forwards, as in the
    published system.

    Args:
        plan: the anchors.
        resolution: side of the square crop in pixels.
        exact: see above.
    """
    if exact:
        matrices = alignment_matrices(plan.anchors, resolution)
        return lambda: matrices.__getitem__

    def begin_run() -> MatrixOf:
        aligner = Aligner(resolution)
        return lambda index: aligner.matrix(plan.anchors[index])

    return begin_run
