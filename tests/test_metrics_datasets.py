"""Scores of whole sets: thresholds, calibration, edges, volumes, and the released evaluation."""

import numpy as np
import pandas as pd
import pytest
from awkward_masks import draw_masks, draw_pairs
from scipy.spatial.distance import directed_hausdorff

from ehanet.metrics import calibration, dice_over_thresholds, edge_f1, score_masks, score_volumes
from ehanet.metrics.distances import surface
from ehanet.metrics.edges import THRESHOLDS, edge_f1_curves
from ehanet.metrics.released import RELEASED_THRESHOLD, released_scores, row_wise_hausdorff, score_choice
from ehanet.metrics.reliability import reliability_table
from ehanet.metrics.thresholds import dice_curves


def draw_set(count=40, seed=0, shape=(14, 19)):
    pairs = draw_pairs(count, seed, shapes=[shape])
    return np.array([p.astype(np.float64) for p, _ in pairs]), np.array([label for _, label in pairs])


def test_dice_over_thresholds_is_a_loop_over_thresholds():
    probabilities, labels = draw_set()
    probabilities = np.round(probabilities * 255) / 255
    total = []
    for k in range(1, 256):
        predictions = np.round(probabilities * 255) >= k
        both = (predictions & labels).sum((1, 2))
        sizes = predictions.sum((1, 2)) + labels.sum((1, 2))
        total.append(np.where(sizes == 0, 1, 2 * both / np.maximum(sizes, 1)))
    maps = np.round(probabilities * 255).astype(np.float32) / np.float32(255)  # 8 bits survive single precision
    assert dice_over_thresholds(maps, labels) == pytest.approx(np.mean(total), abs=1e-12)


def test_dice_over_thresholds_against_pysodmetrics():
    sod = pytest.importorskip("py_sod_metrics")
    probabilities, labels = draw_set(seed=3)
    probabilities, labels = probabilities[labels.any((1, 2))], labels[labels.any((1, 2))]
    for image, label, curve in zip(probabilities, labels, dice_curves(probabilities, labels), strict=True):
        measure = sod.FmeasureV2(metric_handlers={"dice": sod.DICEHandler(with_dynamic=True, with_adaptive=False)})
        measure.step(image, label, normalize=False)
        np.testing.assert_allclose(curve[::-1], measure.get_results()["dice"]["dynamic"], atol=1e-12)


def test_dice_over_thresholds_is_not_dice():
    """A hesitant map: right at 0.5, wrong at most thresholds."""
    label = np.zeros((1, 10, 10), bool)
    label[0, 2:6, 2:6] = True
    hesitant = np.where(label, 0.6, 0.4)
    assert score_masks(hesitant, label).dice[0] == 1
    assert dice_over_thresholds(hesitant, label) == pytest.approx((102 * 32 / 116 + 51 * 1) / 255, abs=1e-12)
    assert dice_over_thresholds(label.astype(float), label) == 1


def test_calibration_against_scikit_learn():
    sklearn_calibration = pytest.importorskip("sklearn.calibration")
    from sklearn.metrics import brier_score_loss

    rng = np.random.default_rng(0)
    probabilities = rng.random((5, 40, 40)) ** 2
    labels = rng.random(probabilities.shape) < probabilities**1.5
    result = calibration(probabilities, labels)
    assert result["brier"] == pytest.approx(brier_score_loss(labels.ravel(), probabilities.ravel()), abs=1e-12)
    true, predicted = sklearn_calibration.calibration_curve(labels.ravel(), probabilities.ravel(), n_bins=15)
    share = np.histogram(probabilities, bins=15, range=(0, 1))[0] / probabilities.size
    assert result["ece"] == pytest.approx((share * np.abs(true - predicted)).sum(), abs=1e-9)
    assert result["bins"] == 15


def test_calibration_by_hand():
    probabilities = np.array([[[0.2, 0.2, 0.2, 0.2], [1.0, 1.0, 0.0, 0.0]]])
    labels = np.array([[[1, 0, 0, 0], [1, 1, 0, 0]]])
    result = calibration(probabilities, labels, bins=10)
    assert result.ece == pytest.approx(0.5 * 0.05) and result.brier == pytest.approx((0.64 + 3 * 0.04) / 8)
    table = reliability_table(probabilities, labels, bins=10)
    assert table.pixels.tolist() == [2, 0, 4, 0, 0, 0, 0, 0, 0, 2]
    with pytest.raises(ValueError, match="bins"):
        calibration(probabilities, labels, bins=0)


def naive_edge_f1(edges, contour, tolerance):
    """F1 of binary edges against contour pixels from all pairs of points."""
    ours, theirs = np.argwhere(edges), np.argwhere(contour)
    if not len(ours) or not len(theirs):
        return float(len(ours) == len(theirs))
    squared = ((ours[:, None] - theirs[None]) ** 2).sum(-1)
    p, r = (squared.min(1) <= tolerance**2).mean(), (squared.min(0) <= tolerance**2).mean()
    return 2 * p * r / (p + r) if p + r else 0.0


@pytest.mark.parametrize("tolerance", [0, 1.5, 2])
def test_edge_f1_is_a_loop_over_images_and_thresholds(tolerance):
    probabilities, labels = draw_set(count=14, seed=2)
    curves = edge_f1_curves(probabilities, labels, tolerance)
    naive = np.array([
        [naive_edge_f1(image > t, surface(label), tolerance) for t in THRESHOLDS] for image, label in zip(probabilities, labels, strict=True)
    ])  # fmt: skip
    np.testing.assert_allclose(curves, naive, atol=1e-12)
    result = edge_f1(probabilities, labels, tolerance)
    assert result.ods == pytest.approx(naive.mean(0).max()) and result.ois == pytest.approx(naive.max(1).mean())
    assert result.ois >= result.ods
    assert naive.mean(0)[np.argmin(np.abs(THRESHOLDS - result.threshold))] == pytest.approx(result.ods)


def test_edge_f1_tolerance_and_empty_images():
    labels = np.zeros((3, 20, 20), bool)
    labels[0, 5:15, 5:15] = True
    edges = surface(labels[0]).astype(float)
    moved = np.roll(edges, 2, axis=1)
    none = np.zeros_like(edges)
    assert edge_f1(edges[None], labels[:1]).tolist()[:2] == [1, 1]
    assert edge_f1(moved[None], labels[:1]).ods == 1 and edge_f1(moved[None], labels[:1], tolerance=1).ods < 1
    assert edge_f1(none[None], labels[:1]).ods == 0  # only the prediction is empty
    assert edge_f1(edges[None], labels[1:2]).ois == 0  # only the label is empty
    assert edge_f1(none[None], labels[1:2]).ods == 1  # both are
    assert edge_f1(edges[None], edges[None] > 0).ods == 1  # a contour in place of its mask
    with pytest.raises(ValueError, match="tolerance"):
        edge_f1(edges[None], labels[:1], tolerance=-1)


def test_volumes_are_stacked_slices():
    probabilities, labels = draw_set(count=24, seed=5)
    groups = [f"patient{place % 5}" for place in range(24)]
    table = score_volumes(probabilities, labels, groups).set_index("group")
    assert list(table.index) == [f"patient{k}" for k in range(5)] and table.images.sum() == 24
    for name in table.index:
        chosen = [place for place, group in enumerate(groups) if group == name]
        # all slices side by side are one large image
        one = score_masks(np.concatenate(probabilities[chosen])[None], np.concatenate(labels[chosen])[None])
        for column in ("dice", "iou", "precision", "recall", "specificity", "accuracy", "f2", "pixels"):
            assert table.loc[name, column] == pytest.approx(one[column][0], nan_ok=True), column


def test_volume_of_empty_slices():
    table = score_volumes(np.zeros((2, 4, 4)), np.zeros((2, 4, 4), int), ["a", "a"])
    assert table.dice.tolist() == [1] and table.gt_empty.all() and table.pred_empty.all()


def test_row_wise_hausdorff_is_that_of_scipy_on_masks():
    for prediction, label in zip(*draw_masks(150, seed=0, shape=(12, 17)), strict=True):
        one, other = prediction.astype(float), label.astype(float)
        expected = max(directed_hausdorff(one, other)[0], directed_hausdorff(other, one)[0])
        assert row_wise_hausdorff(prediction, label) == pytest.approx(expected, abs=1e-6)


def test_row_wise_hausdorff_does_not_see_where_rows_lie():
    """The same shape at the other end of the image: 0 row-wise, 20 pixels in truth."""
    prediction, label = np.zeros((2, 30, 30), bool)
    prediction[2:5, 10:15] = label[22:25, 10:15] = True
    assert row_wise_hausdorff(prediction, label) == 0
    assert score_masks(prediction[None].astype(float), label[None]).hd[0] == 20


def test_released_evaluation_changes_one_choice_at_a_time():
    """A large object found at 0.55 only by our threshold, and a small missed one that pooling hides."""
    labels = np.zeros((2, 20, 20), bool)
    labels[0, :10] = True
    labels[1, :2, :2] = True
    probabilities = np.zeros((2, 20, 20))
    probabilities[0, :10] = 0.9
    probabilities[0, 9] = 0.55
    table = score_choice(probabilities, labels, batch_size=2).set_index("evaluation")
    assert table.dice["ours"] == 0.5 and table.dice["row-wise Hausdorff"] == 0.5
    assert table.dice["threshold 0.62"] == pytest.approx((360 / 380) / 2)
    assert table.dice["pooled batches"] == pytest.approx(400 / 404)
    assert table.dice["released"] == pytest.approx(360 / 384) and table.iou["released"] == pytest.approx(180 / 204)
    assert table.hausdorff["released"] == pytest.approx(np.sqrt(2) / 2)  # a row of two pixels against an empty row, and 0
    frame = score_masks(probabilities, labels)
    assert table.loc["ours", ["dice", "iou", "hausdorff"]].tolist() == pytest.approx([frame.dice.mean(), frame.iou.mean(), frame.hd.mean()])
    pd.testing.assert_series_equal(
        released_scores(probabilities, labels, batch_size=2), table.loc["released", ["dice", "iou", "hausdorff"]].astype(float),
        check_names=False,
    )  # fmt: skip
    assert released_scores(probabilities, labels, batch_size=1).dice == pytest.approx((360 / 380) / 2)
    assert pytest.approx(0.6224593) == RELEASED_THRESHOLD


@pytest.mark.parametrize("score", [dice_over_thresholds, calibration, edge_f1, score_choice])
def test_sets_of_nothing_and_bad_images(score):
    with pytest.raises(ValueError, match="at least one image"):
        score(np.zeros((0, 4, 4)), np.zeros((0, 4, 4), bool))
    with pytest.raises(ValueError, match="image 1"):
        score(np.stack([np.zeros((4, 4)), np.full((4, 4), 1.5)]), np.zeros((2, 4, 4), bool))


@pytest.mark.parametrize("tolerance", [-1.0, np.inf, np.nan])
def test_a_tolerance_that_is_no_distance_is_refused(tolerance):
    with pytest.raises(ValueError, match="tolerance must be a finite number of pixels of at least 0"):
        edge_f1(*draw_masks(2, 0, (8, 8)), tolerance)
