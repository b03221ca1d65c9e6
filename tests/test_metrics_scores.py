"""The score table: columns, conventions for empty masks, overlap against two libraries, bad input, properties."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from awkward_masks import SHAPES, draw_masks, draw_pairs
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ehanet.metrics import read_scores, score_masks, summarise
from ehanet.metrics.regions import binarise, count_pixels, dice_per_image, region_scores

COLUMNS = ["image", "group", "pixels", "dice", "iou", "precision", "recall", "specificity", "accuracy", "f2", "hd", "hd95", "assd",
           "masd", "nsd_1", "nsd_2", "nsd_3", "boundary_iou", "boundary_f1", "s_measure", "e_measure", "weighted_f", "mae",
           "gt_empty", "pred_empty"]  # fmt: skip
SHARES = ["dice", "iou", "precision", "recall", "specificity", "accuracy", "f2", "nsd_1", "nsd_2", "nsd_3", "boundary_iou",
          "boundary_f1", "s_measure", "weighted_f", "mae"]  # fmt: skip


def test_columns_names_and_types():
    probabilities, labels = np.zeros((3, 6, 8)), np.zeros((3, 6, 8), np.uint8)
    frame = score_masks(probabilities, labels, ids=["b", "a", "007"], groups=["x", "x", "y"])
    assert list(frame.columns) == COLUMNS
    assert frame.image.tolist() == ["b", "a", "007"] and frame.group.tolist() == ["x", "x", "y"] and frame.pixels.tolist() == [48] * 3
    assert frame.gt_empty.dtype == frame.pred_empty.dtype == bool
    plain = score_masks(probabilities, labels)
    assert plain.image.tolist() == plain.group.tolist() == [0, 1, 2]
    assert list(score_masks(np.zeros((0, 4, 4)), np.zeros((0, 4, 4), bool)).columns) == COLUMNS


# case -> column -> value; the image diagonal of 12 x 16 is 20
CONVENTIONS = {
    "both": dict(dice=1, iou=1, precision=1, recall=1, specificity=1, accuracy=1, f2=1, hd=0, hd95=0, assd=0, masd=0, nsd_1=1, nsd_2=1,
                 nsd_3=1, boundary_iou=1, boundary_f1=1, weighted_f=1),
    "prediction": dict(dice=0, iou=0, precision=0, recall=0, specificity=1, accuracy=188 / 192, f2=0, hd=20, hd95=20, assd=20, masd=20,
                       nsd_1=0, nsd_2=0, nsd_3=0, boundary_iou=0, boundary_f1=0),
    "label": dict(dice=0, iou=0, precision=0, recall=np.nan, specificity=188 / 192, accuracy=188 / 192, f2=0, hd=20, hd95=20, assd=20,
                  masd=20, nsd_1=0, nsd_2=0, nsd_3=0, boundary_iou=0, boundary_f1=0, weighted_f=0),
}  # fmt: skip


@pytest.mark.parametrize("empty", CONVENTIONS)
def test_conventions_for_empty_masks(empty):
    probabilities, labels = np.zeros((1, 12, 16)), np.zeros((1, 12, 16), bool)
    if empty == "prediction":
        labels[0, 3:5, 3:5] = True
    if empty == "label":
        probabilities[0, 3:5, 3:5] = 0.9
    row = score_masks(probabilities, labels).iloc[0]
    for column, value in CONVENTIONS[empty].items():
        assert row[column] == pytest.approx(value, nan_ok=True), column
    assert (row.gt_empty, row.pred_empty) == (empty != "prediction", empty != "label")


def test_label_without_background():
    row = score_masks(np.full((1, 5, 5), 0.8), np.ones((1, 5, 5), bool)).iloc[0]
    assert np.isnan(row.specificity) and row.recall == row.dice == 1 and row.hd == 0
    frame = score_masks(np.full((1, 5, 5), 0.2), np.ones((1, 5, 5), bool))
    assert np.isnan(frame.specificity[0]) and frame.recall[0] == 0 and frame.drop(columns="specificity").notna().all(axis=None)


def test_half_is_background():
    assert score_masks(np.full((1, 3, 3), 0.5), np.ones((1, 3, 3), bool)).pred_empty[0]
    assert dice_per_image(np.full((1, 3, 3), 0.5), np.zeros((1, 3, 3), bool)).tolist() == [1]


def test_no_nan_but_the_two_undefined_cases():
    for shape in SHAPES:
        pairs = draw_pairs(60, seed=11, shapes=[shape])
        frame = score_masks(np.array([p.astype(np.float32) for p, _ in pairs]), np.array([label for _, label in pairs]))
        assert frame.drop(columns=["recall", "specificity"]).notna().all(axis=None)
        labels = np.array([label for _, label in pairs])
        assert (frame.recall.isna() == (frame.gt_empty & ~frame.pred_empty)).all()
        assert (frame.specificity.isna() == labels.all(axis=(1, 2))).all()


@pytest.mark.parametrize("shape", [(1, 17), (9, 13), (32, 32)])
def test_overlap_against_segmentation_models_and_scikit_learn(shape):
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch = pytest.importorskip("torch")
    from sklearn.metrics import accuracy_score, fbeta_score, jaccard_score, precision_score, recall_score

    predictions, labels = draw_masks(150, seed=1, shape=shape, empty=False)
    ours = region_scores(count_pixels(predictions, labels))
    stats = smp.metrics.get_stats(torch.tensor(predictions)[:, None].int(), torch.tensor(labels)[:, None].int(), mode="binary")
    for name, function in (
        ("dice", smp.metrics.f1_score), ("iou", smp.metrics.iou_score), ("precision", smp.metrics.precision),
        ("recall", smp.metrics.recall), ("accuracy", smp.metrics.accuracy),
    ):  # fmt: skip
        np.testing.assert_allclose(ours[name], function(*stats, reduction=None)[:, 0].numpy(), atol=1e-6, err_msg=name)
    background = ~labels.all(axis=(1, 2))
    np.testing.assert_allclose(ours["specificity"][background], smp.metrics.specificity(*stats)[background, 0].numpy(), atol=1e-6)
    f2 = smp.metrics.fbeta_score(*stats, beta=2, reduction=None)[:, 0].numpy()
    np.testing.assert_allclose(ours["f2"], f2, atol=1e-6)
    for place in range(0, 150, 5):
        y, x = labels[place].ravel(), predictions[place].ravel()
        oracle = [jaccard_score(y, x), precision_score(y, x), recall_score(y, x), accuracy_score(y, x), fbeta_score(y, x, beta=2)]
        assert [ours[name][place] for name in ("iou", "precision", "recall", "accuracy", "f2")] == pytest.approx(oracle, abs=1e-12)


def test_counts_by_hand():
    """TP 2, FP 1, FN 3, TN 6."""
    prediction = np.array([[1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]], float)
    label = np.array([[1, 1, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
    row = score_masks(prediction[None], label[None]).iloc[0]
    expected = dict(dice=4 / 8, iou=2 / 6, precision=2 / 3, recall=2 / 5, specificity=6 / 7, accuracy=8 / 12, f2=10 / (10 + 12 + 1))
    assert row[list(expected)].to_dict() == pytest.approx(expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_tensors_score_like_arrays(dtype):
    torch = pytest.importorskip("torch")
    probabilities = torch.rand(3, 9, 11, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))
    labels = torch.rand(3, 9, 11, generator=torch.Generator().manual_seed(1)) > 0.5
    frame = score_masks(probabilities.clone().requires_grad_(), labels.long(), ids=["a", "b", "c"])
    array = probabilities.double().numpy() if dtype == "float64" else probabilities.float().numpy()
    pd.testing.assert_frame_equal(frame, score_masks(array, labels.numpy(), ids=np.array(["a", "b", "c"])))


def test_memory_order_changes_nothing():
    """Scores depend on values, not on how they lie in memory."""
    probabilities, labels = np.random.default_rng(0).random((2, 4, 12, 10))
    turned = np.asfortranarray(probabilities)
    pd.testing.assert_frame_equal(score_masks(turned, np.asfortranarray(labels > 0.5)), score_masks(probabilities, labels > 0.5))


GOOD = np.full((3, 4, 5), 0.25)
LABEL = np.zeros((3, 4, 5), int)


def changed(array, value):
    """The second image gets one bad value."""
    array = array.copy()
    array[1, 2, 3] = value
    return array


@pytest.mark.parametrize("probabilities, labels, message", [
    (changed(GOOD, np.nan), LABEL, "image 'b': probabilities hold NaN"),
    (changed(GOOD, 1.01), LABEL, r"image 'b': probabilities must be in \[0, 1\], found 0.25 to 1.01"),
    (changed(GOOD, -1e-3), LABEL, r"image 'b': probabilities must be in \[0, 1\]"),
    (changed(GOOD, np.inf), LABEL, r"image 'b': probabilities must be in \[0, 1\]"),
    (GOOD, changed(LABEL, 2), "image 'b': labels must be 0 or 1, found 2"),
    (GOOD, changed(LABEL, -1), "image 'b': labels must be 0 or 1, found -1"),
    (GOOD, changed(LABEL.astype(np.uint8), 255), "image 'b': labels must be 0 or 1, found 255"),
    (GOOD, changed(LABEL.astype(float), np.nan), "image 'b': labels must be 0 or 1, found nan"),
    (GOOD, changed(LABEL.astype(float), 0.5), "image 'b': labels must be 0 or 1, found 0.5"),
    (GOOD, np.full((3, 4, 5), "x"), "image 'a': labels must be bool or 0/1"),
    (GOOD, LABEL[:, :3], r"image 'a': probabilities \(4, 5\) and label \(3, 5\)"),
    (GOOD, LABEL[:2], "image 'c' has no counterpart: 3 probability maps, 2 labels"),
    ([*GOOD[:2], GOOD[0, :2]], [*LABEL[:2], LABEL[0]], r"image 'c': probabilities \(2, 5\) and label \(4, 5\)"),
    ([*GOOD[:2], GOOD[0, :2]], [*LABEL[:2], LABEL[0, :2]], "image 'c' is .* score each size"),
    (GOOD[0], LABEL[0], r"shape \(N, H, W\)"),
    (GOOD[None], LABEL[None], r"shape \(N, H, W\)"),
    (GOOD[:, :0], LABEL[:, :0], "image 'a' must have .* at least one pixel"),
    (LABEL, LABEL, "image 'a': probabilities must be floating"),
])  # fmt: skip
def test_bad_input_names_the_image(probabilities, labels, message):
    with pytest.raises(ValueError, match=message) as error:
        score_masks(probabilities, labels, ids=["a", "b", "c"])
    assert "\n" not in str(error.value)


def test_bad_names_and_spacing():
    with pytest.raises(ValueError, match="image 'a' appears more than once"):
        score_masks(GOOD, LABEL, ids=["a", "b", "a"])
    with pytest.raises(ValueError, match="groups has 2 entries for 3 images"):
        score_masks(GOOD, LABEL, groups=["x", "y"])
    with pytest.raises(ValueError, match="ids has 4 entries for 3 images"):
        score_masks(GOOD, LABEL, ids=list("abcd"))
    with pytest.raises(ValueError, match="image 1: probabilities hold NaN"):
        score_masks(changed(GOOD, np.nan), LABEL)
    for spacing in ((0.0, 1.0), 1.0, (1.0, np.inf), (1.0, 1.0, 1.0)):
        with pytest.raises(ValueError, match="spacing must be two positive numbers of millimetres"):
            score_masks(GOOD, LABEL, spacing=spacing)
    with pytest.raises(ValueError, match="same shape"):
        dice_per_image(GOOD, LABEL[:2])


def test_summary_leaves_out_and_counts():
    """Two normal images, one missed, two spurious, one empty on both sides, one label without background."""
    probabilities, labels = np.zeros((7, 6, 6)), np.zeros((7, 6, 6), bool)
    labels[[0, 1, 2], 1:3, 1:3] = True
    labels[6] = True
    probabilities[[0, 1, 3, 4], 1:3, 1:3] = 0.9
    probabilities[6] = 0.9
    frame = score_masks(probabilities, labels)
    cells = summarise(frame)
    assert cells.index.tolist() == COLUMNS[3:-2]
    assert (cells.missed == 1).all() and (cells.spurious == 2).all()
    assert cells.loc["recall", ["mean", "n", "left_out"]].tolist() == [4 / 5, 5, 2]
    assert cells.loc["specificity", ["n", "left_out"]].tolist() == [6, 1]
    assert cells.loc["dice", ["mean", "n", "left_out"]].tolist() == pytest.approx([4 / 7, 7, 0])
    assert cells.loc["dice", "sd"] == pytest.approx(frame.dice.std())
    assert summarise(frame, ["hd"]).index.tolist() == ["hd"]
    with pytest.raises(ValueError, match="no score 'dcie'"):
        summarise(frame, ["dcie"])


def test_csv_round_trip(tmp_path):
    pairs = draw_pairs(12, seed=0, shapes=[(8, 9)])
    ids = [f"{place:03}" for place in range(11)] + ["NA"]
    frame = score_masks(np.array([p.astype(float) for p, _ in pairs]), np.array([label for _, label in pairs]), ids=ids)
    frame.loc[0, "recall"] = np.nan
    frame.to_csv(tmp_path / "scores.csv", index=False)
    pd.testing.assert_frame_equal(read_scores(tmp_path / "scores.csv"), frame, check_dtype=False)
    frame.drop(columns="hd95").to_csv(tmp_path / "scores.csv", index=False)
    with pytest.raises(ValueError, match="column 'hd95' is missing"):
        read_scores(tmp_path / "scores.csv")


pairs_of_maps = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=10).flatmap(
    lambda shape: st.tuples(arrays(np.float64, shape, elements=st.floats(0, 1)), arrays(bool, shape))
)


@settings(max_examples=150, deadline=None)
@given(pairs_of_maps)
def test_bounds(pair):
    probabilities, label = pair
    row = score_masks(probabilities[None], label[None]).iloc[0]
    for name in SHARES:
        assert np.isnan(row[name]) or -1e-12 <= row[name] <= 1 + 1e-12, name
    for name in ("hd", "hd95", "assd", "masd"):
        assert 0 <= row[name] <= np.hypot(*label.shape)
    assert row.iou == pytest.approx(row.dice / (2 - row.dice)) and row.iou <= row.dice


@settings(max_examples=100, deadline=None)
@given(array_shapes(min_dims=2, max_dims=2, max_side=9).flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))))
def test_symmetry(pair):
    """Dice, IoU and accuracy do not care which mask is the label; precision and recall change places."""
    there, back = (region_scores(count_pixels(one[None], other[None])) for one, other in (pair, pair[::-1]))
    for name in ("dice", "iou", "accuracy"):
        assert there[name] == back[name]
    if pair[0].any() and pair[1].any():
        assert there["precision"] == back["recall"]


@settings(max_examples=60, deadline=None)
@given(pairs_of_maps, st.integers(0, 3))
def test_order_of_pixels_does_not_matter_to_overlap(pair, turns):
    probabilities, label = pair
    one = score_masks(probabilities[None], label[None])
    other = score_masks(np.rot90(probabilities, turns)[None], np.rot90(label, turns)[None])
    names = ["dice", "iou", "precision", "recall", "specificity", "accuracy", "f2", "e_measure", "mae"]
    np.testing.assert_allclose(one[names], other[names], rtol=1e-12)


def test_images_are_scored_on_their_own():
    """A row does not depend on what else is in the call."""
    pairs = draw_pairs(9, seed=2, shapes=[(10, 12)])
    probabilities, labels = np.array([p.astype(float) for p, _ in pairs]), np.array([label for _, label in pairs])
    frame = score_masks(probabilities, labels)
    rows = [score_masks(p[None], label[None], ids=[k]) for k, (p, label) in enumerate(zip(probabilities, labels, strict=True))]
    pd.testing.assert_frame_equal(frame, pd.concat(rows, ignore_index=True))
    np.testing.assert_array_equal(frame.dice, dice_per_image(probabilities, labels))
    assert binarise(np.array([0.5, 0.51])).tolist() == [False, True]


def test_training_needs_numpy_alone():
    """``ehanet.metrics.regions`` brings in no pandas, scipy or torch, and the whole package no torch."""
    code = (
        "import sys, ehanet.metrics.regions; assert not {'pandas', 'scipy', 'torch'} & set(sys.modules), 'regions';"
        "import ehanet.metrics as m; [getattr(m, name) for name in m.__all__];"
        "assert not {'torch', 'timm', 'torchvision', 'monai'} & set(sys.modules), 'all'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_name():
    import ehanet.metrics

    assert "score_masks" in dir(ehanet.metrics)
    with pytest.raises(AttributeError, match="it offers .*score_masks"):
        ehanet.metrics.score_mask  # noqa: B018
