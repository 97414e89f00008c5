import numpy as np

from latentsync.face.align import alignment_matrices
from latentsync.face.face_plan import FacePlan
from latentsync.pipelines.person_stages import interval_matrices

ANCHORS = np.array([[300.0, 300], [420, 295], [365, 370]]) + np.random.default_rng(0).normal(size=(6, 3, 2)) * 9
PLAN = FacePlan(ANCHORS.astype(np.float32), np.array([0, 0, 0, 1, 1, 1], dtype=np.int32))


def test_by_default_the_nose_correction_restarts_and_follows_the_result():
    start_interval = interval_matrices(PLAN, 256)
    for order in ([0, 1, 2, 1, 0], [3, 4, 5]):
        matrix_of = start_interval()
        expected = alignment_matrices(PLAN.anchors[order], 256)
        assert np.array_equal([matrix_of(index) for index in order], expected)


def test_exact_follows_the_source_through_cuts_and_keeps_the_matrices_backwards():
    start_interval = interval_matrices(PLAN, 256, exact=True)
    expected = alignment_matrices(PLAN.anchors, 256)
    matrix_of = start_interval()
    assert np.array_equal([matrix_of(index) for index in (3, 2, 1, 0)], expected[[3, 2, 1, 0]])
    assert np.array_equal(start_interval()(3), expected[3])
    assert np.abs(expected[3] - interval_matrices(PLAN, 256)()(3)).max() > 1e-3
