"""Errors by distance and by kind, on masks that can be counted by hand."""

import numpy as np
import pytest

from ehanet.metrics.contours import KINDS, error_kinds, error_rates, errors_by_distance, kind_shares, main_kind, signed_distance


def square(size: int, top: int, left: int, side: int) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[top:top + side, left:left + side] = True
    return mask


def test_signed_distance_by_hand():
    mask = np.zeros((1, 7), bool)
    mask[0, 2:5] = True
    assert signed_distance(mask).tolist() == [[1.5, 0.5, -0.5, -1.5, -0.5, 0.5, 1.5]]
    assert signed_distance(square(5, 2, 2, 1))[0, 0] == pytest.approx(np.sqrt(8) - 0.5)


@pytest.mark.parametrize("mask", [np.zeros((4, 4), bool), np.ones((4, 4), bool)])
def test_no_contour_no_distance(mask):
    with pytest.raises(ValueError, match="no contour"):
        signed_distance(mask)
    counts = errors_by_distance(~mask[None], mask[None], 3)
    assert counts.wrong.sum() == counts.pixels.sum() == 0


def test_errors_fall_into_their_rings():
    label = square(16, 4, 4, 8)
    grown = square(16, 3, 3, 10)  # one ring too many: 36 pixels, all in the first ring outside
    counts = errors_by_distance(grown[None], label[None], 4)
    assert counts.places.tolist() == [-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5]
    assert counts.wrong[0].tolist() == [0, 0, 0, 0, 36, 0, 0, 0]
    assert counts.pixels[0, :4].tolist() == [4, 12, 20, 28] and counts.pixels[0, 4] == 36
    shrunk = errors_by_distance(square(16, 5, 5, 6)[None], label[None], 4)
    assert shrunk.wrong[0].tolist() == [0, 0, 0, 28, 0, 0, 0, 0]


def test_rates_weigh_pixels_and_their_interval_holds_them():
    wrong, pixels = np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([[10.0, 0.0], [10.0, 0.0]])
    rate, low, high = error_rates(wrong, pixels, np.array([0, 1]))
    assert rate[0] == pytest.approx(0.2) and (low[0], high[0]) == pytest.approx((0.1, 0.3))
    assert np.isnan([rate[1], low[1], high[1]]).all()
    together = error_rates(wrong, pixels, np.array([0, 0]))
    assert together[:, 0].tolist() == pytest.approx([0.2] * 3)  # one patient: nothing to draw anew


@pytest.mark.parametrize(("prediction", "label", "kind"), [
    (square(64, 0, 0, 0), square(64, 20, 20, 3), "missed"),      # small, wholly lost: not a boundary error
    (square(64, 50, 50, 3), square(64, 0, 0, 0), "spurious"),
    (square(64, 19, 19, 22), square(64, 20, 20, 20), "boundary"),
    (square(64, 22, 22, 16), square(64, 20, 20, 20), "boundary"),  # two pixels: within the band
    (square(64, 28, 28, 4), square(64, 20, 20, 20), "missed"),
    (square(64, 10, 10, 40), square(64, 20, 20, 20), "spurious"),
    (square(64, 20, 20, 20), square(64, 20, 20, 20), "none"),
    (square(64, 0, 0, 0), square(64, 0, 0, 0), "none"),
])
def test_what_went_wrong(prediction, label, kind):
    shares = kind_shares(prediction, label)
    assert main_kind(shares) == kind
    assert sum(shares.values()) == pytest.approx(0 if kind == "none" else 1)


def test_each_wrong_pixel_has_one_kind():
    label, prediction = square(64, 10, 10, 20) | square(64, 50, 50, 4), square(64, 11, 10, 20) | square(64, 2, 55, 3)
    kinds = error_kinds(prediction, label)
    assert ((kinds > 0) == (prediction != label)).all()
    assert (kinds[50:54, 50:54] == 1 + KINDS.index("missed")).all() and (kinds[2:5, 55:58] == 1 + KINDS.index("spurious")).all()
    assert (kinds[10, 10:30] == 1 + KINDS.index("boundary")).all() and (kinds[30, 10:30] == 1 + KINDS.index("boundary")).all()


def test_a_tie_takes_the_first_kind():
    assert main_kind({"missed": 0.4, "spurious": 0.4, "boundary": 0.2}) == "missed"


def test_a_label_that_fills_the_image_has_no_contour():
    label = np.ones((100, 100), bool)
    for corner in (slice(None, 2), slice(-2, None)):
        prediction = label.copy()
        prediction[corner, corner] = False
        assert kind_shares(prediction, label) == {"missed": 1.0, "spurious": 0.0, "boundary": 0.0}
    label[-1, -1] = False
    prediction = label.copy()
    prediction[:2, :2] = False
    assert kind_shares(prediction, label)["missed"] == 1
