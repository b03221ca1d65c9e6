"""Augmentation: image and mask stay together, seeds repeat, each operation has its rate."""

import pytest
import torch
import torch.nn.functional as F

from ehanet.data.augment import KINDS, Augmentation, _warp
from ehanet.data.edges import edge_labels

ACTIVE = [kind for kind in KINDS if kind != "none"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def blobs(batch, size=64, seed=0):
    """Smooth random masks without symmetry, (B, 1, size, size)."""
    field = torch.rand(batch, 1, 6, 6, generator=seeded(seed))
    return (F.interpolate(field, size=(size, size), mode="bicubic") > 0.6).float()


def ramps(batch, size=64):
    """Images whose eight symmetries all differ: red rises with x, green with y."""
    line = torch.linspace(0.2, 0.8, size)
    red, green = line.expand(size, size), line[:, None].expand(size, size)
    blue = 0.5 * torch.ones(size, size)
    return torch.stack([red, green, blue]).repeat(batch, 1, 1, 1)


def test_unknown_kind_names_the_known_ones():
    with pytest.raises(ValueError, match="unknown augmentation 'flip'; known: none, flips, released, standard, strong"):
        Augmentation("flip")


@pytest.mark.parametrize("images, masks, message", [
    ((2, 3, 8, 8), (1, 1, 8, 8), "images must be"),
    ((2, 3, 8, 8), (2, 2, 8, 8), "images must be"),
    ((3, 8, 8), (1, 8, 8), "images must be"),
    ((2, 3, 8, 8), (2, 1, 8, 9), "images must be"),
    ((2, 3, 8, 9), (2, 1, 8, 9), "square"),
])
def test_shapes_are_checked(images, masks, message):
    with pytest.raises(ValueError, match=message):
        Augmentation("flips")(torch.zeros(images), torch.zeros(masks), seeded())


def test_none_changes_nothing_and_draws_nothing():
    images, masks, generator = ramps(4), blobs(4), seeded()
    state = generator.get_state()
    out_images, out_masks = Augmentation("none")(images, masks, generator)
    assert torch.equal(out_images, images) and torch.equal(out_masks, masks)
    assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize("kind", ACTIVE)
def test_same_seed_same_result_and_input_untouched(kind):
    images, masks = ramps(8), blobs(8)
    kept = images.clone(), masks.clone()
    first, second = (Augmentation(kind)(images, masks, seeded(3)) for _ in range(2))
    other = Augmentation(kind)(images, masks, seeded(4))
    assert all(torch.equal(a, b) for a, b in zip(first, second))
    assert not torch.equal(first[1], other[1])
    assert torch.equal(images, kept[0]) and torch.equal(masks, kept[1])


@pytest.mark.parametrize("kind", ACTIVE)
def test_ranges_shapes_dtypes(kind):
    images, masks = torch.rand(16, 3, 40, 40, generator=seeded()), blobs(16, 40)
    out_images, out_masks = Augmentation(kind)(images, masks, seeded())
    assert out_images.shape == images.shape and out_images.dtype == images.dtype
    assert out_masks.shape == masks.shape and out_masks.dtype == masks.dtype
    assert 0 <= out_images.min() and out_images.max() <= 1 and out_images.isfinite().all()
    assert set(out_masks.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("kind", ACTIVE)
def test_image_and_mask_move_together(kind):
    """An image that is its own mask still is one afterwards, away from the boundary and the holes."""
    masks = blobs(64)
    # Values around the middle survive the colour jitter of "standard" on their side of 0.5.
    images = (0.1 + 0.8 * masks).repeat(1, 3, 1, 1)
    out_images, out_masks = Augmentation(kind)(images, masks, seeded(1))
    assert not torch.equal(out_masks, masks)
    seen = (out_images.mean(dim=1, keepdim=True) >= 0.5).float()
    inner = edge_labels(out_masks) == 0
    if kind == "released":
        inner &= out_images.amax(dim=1, keepdim=True) > 0
    assert inner.float().mean() > 0.7
    assert (seen == out_masks)[inner].float().mean() > 0.999


def symmetry(images):
    """Which flips and transposes turned the ramp image into each of ``images``: three (B,) bools."""
    dx = images[:, :2, :, -1].mean(-1) - images[:, :2, :, 0].mean(-1)
    dy = images[:, :2, -1].mean(-1) - images[:, :2, 0].mean(-1)
    transposed = dx[:, 0].abs() < dx[:, 1].abs()
    along_x = torch.where(transposed, dx[:, 1], dx[:, 0])
    along_y = torch.where(transposed, dy[:, 0], dy[:, 1])
    return along_x < 0, along_y < 0, transposed


def test_flips_are_exact_and_each_happens_half_of_the_time():
    batch = 2000
    images, masks = ramps(batch, 8), blobs(batch, 8)
    out_images, out_masks = Augmentation("flips")(images, masks, seeded())
    assert torch.equal(out_images.flatten(1).sort(dim=1)[0], images.flatten(1).sort(dim=1)[0])
    assert torch.equal(out_masks.flatten(1).sum(1), masks.flatten(1).sum(1))
    for happened in symmetry(out_images):
        assert abs(happened.float().mean() - 0.5) < 0.05


def test_standard_flips_and_transposes_half_of_the_time():
    for happened in symmetry(Augmentation("standard")(ramps(2000, 16), blobs(2000, 16), seeded())[0]):
        # Reflection and jitter blur what the corners say in a few images.
        assert abs(happened.float().mean() - 0.5) < 0.06


def test_strong_bends_and_mixes_half_of_the_images():
    """Images of one grey each tell whether a rectangle of the next one is in them; the mask has come along."""
    batch, size = 600, 32
    grey = torch.linspace(0.1, 0.9, batch)
    images, masks = grey[:, None, None, None].expand(batch, 3, size, size).clone(), (torch.arange(batch) % 2).float()[:, None, None, None].expand(batch, 1, size, size)
    out, mixed = Augmentation("strong")(images, masks.clone(), seeded())
    foreign = (mixed != masks).flatten(1).float().mean(1)  # each neighbour has the other label
    happened = foreign > 0
    assert abs(happened.float().mean() - 0.5) < 0.06
    sides = (foreign[happened] * size * size).round()
    assert (0.25 * size - 0.5) ** 2 <= sides.min() and sides.max() <= (0.75 * size + 0.5) ** 2


def test_half_of_the_images_are_bent_and_the_others_not(monkeypatch):
    monkeypatch.setattr("ehanet.data.augment.STRONG_MIX_PROBABILITY", 0.0)
    results = {}
    for share in (0.0, 0.5, 1.0):
        monkeypatch.setattr("ehanet.data.augment.STRONG_ELASTIC_PROBABILITY", share)
        results[share] = Augmentation("strong")(ramps(200, 32), blobs(200, 32), seeded(5))
    straight, some, bent = (masks.flatten(1) for _, masks in results.values())
    unchanged, changed = (some == straight).all(1), (some == bent).all(1)
    assert (unchanged | changed).all() and abs(changed.float().mean() - 0.5) < 0.15
    assert (straight != bent).any(1).float().mean() > 0.95, "six per cent of the side shows"
    assert (straight == bent).float().mean() > 0.7, "and leaves the object recognisable"


def test_a_displacement_of_the_grid_moves_image_and_mask():
    knots = torch.zeros(1, 33, 33, 2)
    knots[..., 0] = 2 * 4 / 32  # four pixels of 33 to the right, everywhere
    images, masks = ramps(1, 33), blobs(1, 33)
    out, moved = _warp(images, masks, torch.eye(2)[None], torch.zeros(1, 2), knots)
    assert torch.allclose(out[..., :-4], images[..., 4:], atol=1e-5) and torch.equal(moved[..., :-4], masks[..., 4:])


def test_released_rates():
    batch, size = 3000, 32
    images, masks = ramps(batch, size), torch.zeros(batch, 1, size, size)
    out, _ = Augmentation("released")(images, masks, seeded())
    dropped = (out == 0).all(1).flatten(1).any(1)
    assert abs(dropped.float().mean() - 0.3) < 0.03
    whole = out[~dropped]
    values = images[0].flatten().sort()[0]
    rotated = (whole.flatten(1).sort(dim=1)[0] != values).any(1)
    assert abs(rotated.float().mean() - 0.3) < 0.03
    upright = whole[~rotated]
    horizontal, vertical, transposed = symmetry(upright)
    assert abs(horizontal.float().mean() - 0.3) < 0.04
    assert abs(vertical.float().mean() - 0.3) < 0.04
    assert not transposed.any()


def test_released_rotation_stays_within_35_degrees():
    size = 65
    images = ramps(400, size)
    out, _ = Augmentation("released")(images, torch.zeros(400, 1, size, size), seeded(2))
    unflipped = out[:, :, 28:37, 28:37]
    unflipped = unflipped[(unflipped > 0).flatten(1).all(1)]
    dx = (unflipped[:, 0, :, -1] - unflipped[:, 0, :, 0]).mean(-1)
    dy = (unflipped[:, 0, -1] - unflipped[:, 0, 0]).mean(-1)
    angle = torch.rad2deg(torch.atan2(dy, dx.abs())).abs()
    assert 30 < angle.max() <= 35.1


@pytest.mark.parametrize("size, largest", [(256, 32), (128, 16), (64, 8)])
def test_released_holes_scale_with_the_image_and_keep_the_mask(size, largest):
    images, masks = torch.ones(40, 3, size, size), torch.ones(40, 1, size, size)
    out, out_masks = Augmentation("released")(images, masks, seeded())
    hole = (out == 0).all(1)
    assert out_masks.all()
    area = hole.flatten(1).sum(1)
    assert area.max() <= 10 * largest ** 2
    assert area.max() > largest ** 2
    # No column or row of a hole is longer than ten holes one after the other.
    assert hole.sum(1).max() <= 10 * largest


def test_standard_scales_and_shifts_within_its_limits():
    size = 65
    y, x = torch.meshgrid(*[torch.arange(size) - 32.0] * 2, indexing="ij")
    disc = ((x ** 2 + y ** 2) <= 12 ** 2).float()[None, None].repeat(500, 1, 1, 1)
    _, out = Augmentation("standard")(disc.repeat(1, 3, 1, 1), disc, seeded())
    scale = (out.flatten(1).sum(1) / disc[0].sum()).sqrt()
    assert 0.72 < scale.min() < 0.8 and 1.22 < scale.max() < 1.33
    centre = torch.stack([(out * c).flatten(1).sum(1) / out.flatten(1).sum(1) for c in (x, y)])
    assert 4 < centre.abs().max() < 0.1 * 64 * 1.42 / 0.75 + 1


def test_standard_jitters_the_colours_of_most_images():
    grey = torch.full((500, 3, 8, 8), 0.5)
    out, _ = Augmentation("standard")(grey, torch.zeros(500, 1, 8, 8), seeded())
    moved = (out.mean(dim=(2, 3)) - 0.5).abs().amax(dim=1) > 0.01
    assert abs(moved.float().mean() - 0.78) < 0.06
    assert (out - 0.5).abs().max() < 0.4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", ACTIVE)
def test_the_device_does_not_matter(kind):
    images, masks = ramps(8), blobs(8)
    here = Augmentation(kind)(images, masks, seeded())
    there = Augmentation(kind)(images.cuda(), masks.cuda(), seeded())
    assert torch.allclose(here[0], there[0].cpu(), atol=1e-4)
    assert (here[1] != there[1].cpu()).float().mean() < 1e-3
