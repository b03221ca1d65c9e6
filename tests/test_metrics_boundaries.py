"""Boundary scores against MONAI, medpy, and a brute-force reading of the definitions."""

import math

import numpy as np
import pytest
from awkward_masks import SHAPES, draw_masks
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import binary_erosion, distance_transform_edt

from ehanet.metrics.boundaries import boundary_scores, erode_square
from ehanet.metrics.distances import nearest_pixel, surface, surface_distances

SCORES = ["hd", "hd95", "assd", "masd", "nsd_1", "nsd_2", "nsd_3", "boundary_iou", "boundary_f1"]


def naive_surface(mask):
    """Pixels of the mask with a neighbour above, below, left or right that is outside of the mask or the image."""
    height, width = mask.shape
    points = []
    for y, x in zip(*np.nonzero(mask), strict=True):
        around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        if any(not (0 <= v < height and 0 <= u < width) or not mask[v, u] for v, u in around):
            points.append((y, x))
    return np.array(points, dtype=float)


def naive_scores(prediction, label):
    """All boundary scores from all pairs of surface points; both masks hold a pixel."""
    ours, theirs = naive_surface(prediction), naive_surface(label)
    pairs = np.sqrt(((ours[:, None] - theirs[None]) ** 2).sum(-1))
    there, back = pairs.min(axis=1), pairs.min(axis=0)
    both = np.concatenate([there, back])
    scores = {
        "hd": both.max(),
        "hd95": max(np.quantile(there, 0.95), np.quantile(back, 0.95)),
        "assd": both.mean(),
        "masd": (there.mean() + back.mean()) / 2,
    }
    scores |= {f"nsd_{tau}": (both <= tau).mean() for tau in (1, 2, 3)}
    p, r = (there <= 2).mean(), (back <= 2).mean()
    scores["boundary_f1"] = 2 * p * r / (p + r) if p + r else 0.0
    steps = max(1, round(0.02 * math.hypot(*label.shape)))
    bands = []
    for mask in (prediction, label):
        padded = np.pad(mask, 1)
        for _ in range(steps):
            padded = binary_erosion(padded, np.ones((3, 3)), border_value=1)
            padded[0] = padded[-1] = padded[:, 0] = padded[:, -1] = False
        bands.append(mask & ~padded[1:-1, 1:-1])
    scores["boundary_iou"] = (bands[0] & bands[1]).sum() / (bands[0] | bands[1]).sum()
    return scores


@pytest.mark.parametrize("shape", [*SHAPES, (61, 40), (1, 150)])
def test_brute_force_agrees(shape):
    predictions, labels = draw_masks(80, seed=sum(shape), shape=shape, empty=False)
    for prediction, label in zip(predictions, labels, strict=True):
        ours, naive = boundary_scores(prediction, label), naive_scores(prediction, label)
        assert set(ours) == set(naive) == set(SCORES)
        for name in SCORES:
            assert ours[name] == pytest.approx(naive[name], abs=1e-12), name


@pytest.mark.parametrize("shape", SHAPES[1:])  # MONAI cannot crop an image of one pixel
@pytest.mark.parametrize("count", [24, pytest.param(300, marks=pytest.mark.slow)])
def test_monai_agrees(shape, count):
    """MONAI counts surface pixels and takes the image border as outside, like us.

    It interpolates percentiles in float32: the place 0.95 (n - 1) among n distances is known to 1e-7 n, hence 1e-5.
    """
    torch = pytest.importorskip("torch")
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    predictions, labels = draw_masks(count, seed=7 + sum(shape), shape=shape, empty=False)
    one, other = (torch.from_numpy(masks)[:, None] for masks in (predictions, labels))
    oracle = {
        "hd": compute_hausdorff_distance(one, other, include_background=True),
        "hd95": compute_hausdorff_distance(one, other, percentile=95, include_background=True),
        "assd": compute_average_surface_distance(one, other, symmetric=True, include_background=True),
    }
    oracle |= {f"nsd_{tau}": compute_surface_dice(one, other, class_thresholds=[tau], include_background=True) for tau in (1, 2, 3)}
    ours = [boundary_scores(*pair) for pair in zip(predictions, labels, strict=True)]
    for name, values in oracle.items():
        np.testing.assert_allclose([row[name] for row in ours], values[:, 0].numpy(), rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("shape", SHAPES)
def test_medpy_agrees(shape):
    """hd, assd (since medpy 0.5 over both sets together) and both asd are ours; its hd95 is another definition (below)."""
    binary = pytest.importorskip("medpy.metric.binary")
    for prediction, label in zip(*draw_masks(120, seed=3 + sum(shape), shape=shape, empty=False), strict=True):
        ours = boundary_scores(prediction, label)
        assert ours["hd"] == pytest.approx(binary.hd(prediction, label), abs=1e-12)
        assert ours["assd"] == pytest.approx(binary.assd(prediction, label), abs=1e-12)
        means = binary.asd(prediction, label), binary.asd(label, prediction)
        assert ours["masd"] == pytest.approx(np.mean(means), abs=1e-12)
        both = np.concatenate(surface_distances(prediction, label))
        assert np.percentile(both, 95) == pytest.approx(binary.hd95(prediction, label), abs=1e-12)


def surface_distance_hd95(prediction, label):
    """HD95 as surface-distance has it (its release 0.1 does not run on NumPy 2): contour elements between four pixels, with lengths.

    An element lies where a 2 x 2 window is neither empty nor full; marching squares gives its length.
    """
    lengths = {1: math.sqrt(0.5), 2: 1.0, 3: math.sqrt(0.5)}
    maps = []
    for mask in (prediction, label):
        padded = np.pad(mask, 1).astype(int)
        windows = np.stack([padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]])
        count = windows.sum(axis=0)
        length = np.vectorize(lambda n: lengths.get(n, 0.0))(count)
        length[(count == 2) & (windows[0] == windows[3])] = math.sqrt(2)  # two opposite corners
        maps.append(length)
    ends = []
    for here, there in (maps, maps[::-1]):
        distance = distance_transform_edt(there == 0)[here > 0]
        order = np.argsort(distance)
        share = np.cumsum(here[here > 0][order]) / here.sum()
        ends.append(distance[order][min(np.searchsorted(share, 0.95), len(order) - 1)])
    return max(ends)


def test_the_libraries_disagree_about_hd95():
    """One pixel three steps diagonally off a 12 x 12 square, whose surface has 44 pixels: 1 distance there, 44 back.

    * ours and MONAI: the 95th percentile of each direction by linear interpolation, the larger of the two: 19.005;
    * medpy: one percentile of all 45 distances together, which the pixel's own short distance pulls down: 18.972;
    * surface-distance: the contour runs between the pixels, its elements weigh by their length, and the percentile is the first distance
      at which 95 % of the length is reached, without interpolation: 19.105.
    """
    binary = pytest.importorskip("medpy.metric.binary")
    monai = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    prediction, label = np.zeros((2, 64, 64), bool)
    prediction[17, 17] = True
    label[20:32, 20:32] = True
    assert surface(label).sum() == 44
    assert boundary_scores(prediction, label)["hd95"] == pytest.approx(19.005, abs=5e-4)
    one, other = (torch.from_numpy(mask)[None, None] for mask in (prediction, label))
    oracle = monai.compute_hausdorff_distance(one, other, percentile=95, include_background=True)
    assert float(oracle) == pytest.approx(19.005, abs=5e-4)
    assert binary.hd95(prediction, label) == pytest.approx(18.972, abs=5e-4)
    assert surface_distance_hd95(prediction, label) == pytest.approx(19.105, abs=5e-4)


def test_hand_computed():
    """Two pixels of a row, four apart: every distance is 4, and none is within 3."""
    prediction, label = np.zeros((2, 1, 9), bool)
    prediction[0, 2] = label[0, 6] = True
    scores = boundary_scores(prediction, label)
    assert [scores[name] for name in SCORES] == [4, 4, 4, 4, 0, 0, 0, 0, 0]
    label[0, 6], label[0, 4] = False, True
    scores = boundary_scores(prediction, label)
    assert [scores[name] for name in SCORES] == [2, 2, 2, 2, 0, 1, 1, 0, 1]


def test_spacing_gives_millimetres():
    """Rows 2 mm and columns 0.5 mm apart; tolerances and bands stay in pixels, the diagonal of an empty mask does not."""
    prediction, label = np.zeros((2, 30, 40), bool)
    prediction[5, 5] = label[8, 13] = True
    scores = boundary_scores(prediction, label, spacing=(2.0, 0.5))
    assert scores["hd"] == scores["masd"] == pytest.approx(math.hypot(6, 4))
    assert scores["nsd_3"] == 0
    assert boundary_scores(prediction, np.zeros_like(label), spacing=(2.0, 0.5))["assd"] == pytest.approx(math.hypot(60, 20))
    isotropic = boundary_scores(prediction, label, spacing=(3.0, 3.0))
    assert isotropic["hd95"] == pytest.approx(3 * boundary_scores(prediction, label)["hd95"])


@pytest.mark.parametrize("empty", ["both", "prediction", "label"])
def test_empty_masks(empty):
    prediction, label = np.zeros((2, 12, 16), bool)
    if empty == "prediction":
        label[3:5, 3:5] = True
    if empty == "label":
        prediction[3:5, 3:5] = True
    scores = boundary_scores(prediction, label)
    distance, share = (0, 1) if empty == "both" else (20, 0)
    assert [scores[name] for name in SCORES] == [distance] * 4 + [share] * 5


def test_a_given_transform_changes_nothing():
    for prediction, label in zip(*draw_masks(60, seed=1, shape=(20, 31), empty=False), strict=True):
        assert boundary_scores(prediction, label, nearest_pixel(surface(label))) == boundary_scores(prediction, label)


@pytest.mark.parametrize("radius", [1, 2, 3, 5, 7])
def test_erosion_of_the_band(radius):
    """One erosion by the large square is ``radius`` erosions by the small one."""
    for mask in draw_masks(30, seed=radius, shape=(19, 26))[0]:
        expected = binary_erosion(mask, np.ones((3, 3)), iterations=radius)
        np.testing.assert_array_equal(erode_square(mask, radius), expected)


masks = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)


@settings(max_examples=200, deadline=None)
@given(masks)
def test_symmetry_and_bounds(pair):
    prediction, label = pair
    there, back = boundary_scores(prediction, label), boundary_scores(label, prediction)
    diagonal = math.hypot(*label.shape)
    for name in SCORES:
        assert there[name] == pytest.approx(back[name], abs=1e-12), name
        assert 0 <= there[name] <= (diagonal if name in SCORES[:4] else 1), name
    assert there["hd95"] <= there["hd"] and there["nsd_1"] <= there["nsd_2"] <= there["nsd_3"]
    assert boundary_scores(label, label) == dict.fromkeys(SCORES[:4], 0) | dict.fromkeys(SCORES[4:], 1)


@settings(max_examples=150, deadline=None)
@given(masks, st.integers(0, 3), st.booleans())
def test_flips_and_turns(pair, turns, flip):
    turned = [np.rot90(mask[:, ::-1] if flip else mask, turns) for mask in pair]
    before, after = boundary_scores(*pair), boundary_scores(*turned)
    for name in SCORES:
        assert before[name] == pytest.approx(after[name], abs=1e-12), name


@settings(max_examples=150, deadline=None)
@given(masks, st.integers(1, 6), st.integers(1, 6))
def test_shifts(pair, down, right):
    """Inside a larger background nothing depends on the place, as long as there is something."""
    if not (pair[0].any() and pair[1].any()):
        return
    height, width = pair[0].shape
    placed = []
    for top, left in ((1, 1), (down, right)):
        frames = np.zeros((2, height + 8, width + 8), bool)
        frames[:, top : top + height, left : left + width] = pair
        placed.append(boundary_scores(*frames))
    assert placed[0] == placed[1]
