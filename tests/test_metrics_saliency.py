"""Saliency scores against PySODMetrics with ``normalize=False``, and where it gives no number."""

import numpy as np
import pytest
from awkward_masks import SHAPES, draw_pairs
from scipy.ndimage import distance_transform_edt, gaussian_filter

from ehanet.metrics.distances import nearest_pixel, surface
from ehanet.metrics.saliency import e_measure_curve, s_measure, saliency_scores, threshold_counts, weighted_f

py_sod_metrics = pytest.importorskip("py_sod_metrics")


def oracle(probabilities, label):
    """The four scores of PySODMetrics for one image."""
    scores = {}
    for name, measure in (
        ("s_measure", py_sod_metrics.Smeasure()), ("e_measure", py_sod_metrics.Emeasure()),
        ("weighted_f", py_sod_metrics.WeightedFmeasure()), ("mae", py_sod_metrics.MAE()),
    ):  # fmt: skip
        measure.step(probabilities, label, normalize=False)
        results = measure.get_results()
        scores[name] = {"s_measure": lambda r: r["sm"], "e_measure": lambda r: r["em"]["curve"].mean(),
                        "weighted_f": lambda r: r["wfm"], "mae": lambda r: r["mae"]}[name](results)  # fmt: skip
    return scores


@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")  # PySODMetrics, a quadrant without pixels
def test_pysodmetrics_agrees(seed):
    """1100 awkward pairs a seed, float32 and float64; two stated exceptions."""
    compared = dict.fromkeys(["s_measure", "e_measure", "weighted_f", "mae"], 0)
    for probabilities, label in draw_pairs(1100, seed):
        expected = oracle(probabilities, label)
        ours = saliency_scores(probabilities, label)
        if not label.any():
            expected["weighted_f"] = float(not (probabilities > 0.5).any())
        for name, value in expected.items():
            assert np.isfinite(ours[name])
            if name == "s_measure" and np.isnan(value):
                continue  # the label's centroid lies in the last row or column
            compared[name] += 1
            assert ours[name] == pytest.approx(value, rel=1e-6, abs=1e-6), (name, probabilities, label)
    assert min(compared.values()) > 800  # of 1100; the rest are labels of one row or column and the like


def test_pysodmetrics_agrees_on_large_maps():
    """Many ties of the nearest labelled pixel, and sums over many pixels in single precision."""
    rng = np.random.default_rng(5)
    for _ in range(12):
        height, width = rng.integers(90, 200, size=2)
        label = gaussian_filter(rng.normal(size=(height, width)), rng.choice([3, 8, 15])) > 0.02
        probabilities = np.clip(gaussian_filter(label.astype(float), 4) + rng.normal(scale=0.1, size=label.shape), 0, 1)
        probabilities = probabilities.astype(rng.choice([np.float32, np.float64]))
        for name, value in oracle(probabilities, label).items():
            assert saliency_scores(probabilities, label)[name] == pytest.approx(value, rel=1e-6, abs=1e-6), name


def test_curve_of_the_e_measure():
    for probabilities, label in draw_pairs(200, seed=4):
        measure = py_sod_metrics.Emeasure()
        measure.step(probabilities, label, normalize=False)
        curve = measure.get_results()["em"]["curve"]  # from threshold 1 down
        np.testing.assert_allclose(e_measure_curve(probabilities, label), curve[::-1], rtol=1e-9)


def test_nearest_surface_pixel_is_the_nearest_labelled_pixel():
    """The distances shared with the boundary scores give weighted F the very ties of a transform of the whole label."""
    pairs = [pair for pair in draw_pairs(600, seed=6, shapes=[*SHAPES, (40, 27)]) if pair[1].any()]
    for probabilities, label in pairs:
        shared, whole = nearest_pixel(surface(label)), nearest_pixel(label)
        np.testing.assert_array_equal(shared.row[~label], whole.row[~label])
        np.testing.assert_array_equal(shared.column[~label], whole.column[~label])
        np.testing.assert_array_equal(np.sqrt(whole.squared()), distance_transform_edt(~label))
        assert weighted_f(probabilities, label, shared) == weighted_f(probabilities, label, whole)


def test_empty_masks():
    """S, E and MAE as PySODMetrics; weighted F of two empty masks is 1, of an empty label against a prediction 0."""
    empty, quiet = np.zeros((8, 9), bool), np.full((8, 9), 0.25)
    assert weighted_f(quiet, empty) == 1
    assert weighted_f(np.where(np.eye(8, 9) > 0, 0.75, 0.25), empty) == 0
    assert s_measure(quiet, empty) == 0.75
    expected = oracle(quiet, empty)
    ours = saliency_scores(quiet, empty)
    assert [ours[name] for name in ("s_measure", "e_measure", "mae")] == pytest.approx(
        [expected[name] for name in ("s_measure", "e_measure", "mae")]
    )


def test_quadrants_without_pixels_count_nothing():
    """The centroid lies in the last row, so two quadrants are empty: PySODMetrics gives NaN, the other quadrants still count."""
    label = np.zeros((6, 7), bool)
    label[5, 2:5] = True
    assert s_measure(label.astype(float), label) == pytest.approx(1)
    assert 0 < s_measure(np.full((6, 7), 0.5), label) < 1


def test_perfect_maps_score_full():
    label = np.zeros((20, 22), bool)
    label[4:12, 5:15] = True
    scores = saliency_scores(label.astype(float), label)
    assert scores["s_measure"] == pytest.approx(1) and scores["weighted_f"] == pytest.approx(1) and scores["mae"] == 0


def test_counts_at_each_threshold():
    """At or above k / 255 after cutting to 8 bits, against a loop over the thresholds."""
    rng = np.random.default_rng(0)
    probabilities = np.concatenate([rng.random(500), np.arange(256) / 255, [0.0, 1.0]])[None].astype(np.float32)
    label = rng.random(probabilities.shape) < 0.4
    inside, outside = threshold_counts(probabilities, label)
    level = (probabilities * np.float32(255)).astype(np.uint8)
    for k in range(256):
        assert inside[k] == np.count_nonzero((level >= k) & label) and outside[k] == np.count_nonzero((level >= k) & ~label)
