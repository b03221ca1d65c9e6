"""Edge labels: the golden figures, the definition by hand, the released defect."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from ehanet.data.edges import edge_labels, released_edge_labels

GOLDEN = Path(__file__).parent / "golden" / "ehanet_released_64.npz"


def disc(size=48, radius=15):
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    centre = size / 2 - 0.5
    return ((y - centre) ** 2 + (x - centre) ** 2 <= radius ** 2).float()[None, None]


def test_golden_edge_label_bit_for_bit():
    with np.load(GOLDEN) as golden:
        mask, edge = golden["mask"], golden["edge_label"]
    assert edge.any()
    assert np.array_equal(edge_labels(torch.from_numpy(mask)).numpy(), edge)


@pytest.mark.parametrize("width", [3, 5, 7])
def test_against_scipy(width):
    mask = (np.random.default_rng(width).random((5, 1, 20, 31)) < 0.2).astype(np.uint8)
    square = (1, 1, width, width)
    # "nearest" repeats the border pixel, which adds nothing to a maximum or a minimum.
    expected = (ndimage.maximum_filter(mask, square, mode="nearest")
                - ndimage.minimum_filter(mask, square, mode="nearest"))
    assert np.array_equal(edge_labels(torch.from_numpy(mask), width).numpy(), expected)


def test_a_square_by_hand():
    mask = torch.zeros(1, 1, 7, 7)
    mask[..., 2:5, 2:5] = 1
    expected = torch.zeros(1, 1, 7, 7)
    expected[..., 1:6, 1:6] = 1
    expected[..., 3, 3] = 0
    assert torch.equal(edge_labels(mask), expected)


def test_the_image_border_is_no_edge():
    assert not edge_labels(torch.ones(1, 1, 9, 9)).any()
    half = torch.zeros(1, 1, 8, 8)
    half[..., :4] = 1
    edge = edge_labels(half)
    assert edge[..., 3:5].all() and not edge[..., :3].any() and not edge[..., 5:].any()


def test_dtype_and_input_are_kept():
    mask = disc().to(torch.uint8)
    before = mask.clone()
    assert edge_labels(mask).dtype == torch.float32
    assert edge_labels(mask.double()).dtype == torch.float64
    assert torch.equal(mask, before)


@pytest.mark.parametrize("width", [0, 1, 2, 4, -3, 3.0, True])
def test_width_is_checked(width):
    with pytest.raises(ValueError, match="width must be an odd whole number of at least 3"):
        edge_labels(torch.zeros(1, 1, 4, 4), width)


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4), (1, 2, 4, 4)])
@pytest.mark.parametrize("function", [edge_labels, released_edge_labels])
def test_shape_is_checked(function, shape):
    with pytest.raises(ValueError, match=r"\(B, 1, H, W\)"):
        function(torch.zeros(shape))


def test_released_loses_straight_edges_and_keeps_thin_structures():
    square = torch.zeros(1, 1, 16, 16)
    square[..., 4:12, 4:12] = 1
    assert edge_labels(square).any() and not released_edge_labels(square).any()
    line = torch.zeros(1, 1, 16, 16)
    line[..., 8] = 1
    assert torch.equal(released_edge_labels(line), line)


def test_released_keeps_a_small_part_of_a_round_edge():
    crisp, released = edge_labels(disc()), released_edge_labels(disc())
    assert set(released.unique().tolist()) <= {0.0, 1.0}
    assert (released <= crisp).all()
    assert released.sum() < 0.25 * crisp.sum()
