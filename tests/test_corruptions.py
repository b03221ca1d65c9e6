"""Corruptions: deterministic, stronger with each severity, of one scene, at any size; each does what its name says."""

import numpy as np
import pytest
from scipy import ndimage

from ehanet.data.corruptions import CORRUPTIONS, DEFOCUS, MOTION, SEVERITIES, _splat, corrupt
from ehanet.data.phantoms.lesion import lesion
from ehanet.data.phantoms.nuclei import nuclei
from ehanet.data.phantoms.polyp import polyp


@pytest.fixture(scope="module")
def images():
    """Four pictures of different kinds and shapes, uint8."""
    frame, cells, skin = (draw(np.random.default_rng(5), np.random.default_rng(6), size)[0] for draw, size in ((polyp, 64), (nuclei, 64), (lesion, 32)))
    return [frame, cells, np.ascontiguousarray(frame[:40, :]), skin]


def change(image, changed):
    return np.abs(changed.astype(float) - image).mean()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_changes_more(name, images):
    for seed, image in enumerate(images):
        before = image.copy()
        changed = [corrupt(image, name, severity, seed) for severity in SEVERITIES]
        assert np.array_equal(image, before)
        assert all(one.dtype == np.uint8 and one.shape == image.shape for one in changed)
        means = [change(image, one) for one in changed]
        assert means[0] > 0 and all(np.diff(means) > 0), (seed, means)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_arguments_give_the_same_bytes(name, images):
    first, again = (corrupt(images[0], name, 3, seed=11) for _ in range(2))
    assert np.array_equal(first, again)
    drawn = name not in ("defocus", "jpeg", "contrast", "smaller resolution")  # these have no random part
    assert np.array_equal(first, corrupt(images[0], name, 3, seed=13)) is not drawn


def test_severities_show_one_scene():
    """Spots and hairs of a mild severity are all there in a stronger one."""
    grey = np.full((96, 96, 3), 128, np.uint8)
    for name, brighter in (("specular highlights", True), ("hair", False)):
        mild, strong = (corrupt(grey, name, severity, seed=4)[..., 0].astype(int) for severity in (2, 5))
        assert (mild != 128).any()
        assert ((strong >= mild) if brighter else (strong <= mild)).all()


@pytest.mark.parametrize("side", [32, 64, 300])
def test_blur_has_the_stated_reach_at_any_size(side):
    """A spot spreads over the stated share of the side: its second moment grows by that of a disc, or of a line."""
    spot, half = np.zeros((side, side, 3), np.uint8), side // 20
    y, x = np.indices((side, side)) - side // 2
    spot[np.maximum(abs(x), abs(y)) <= half] = 255
    own = 2 * half * (half + 1) / 3
    radius, length = DEFOCUS[4] * side, MOTION[4] * side
    for name, expected in (("defocus", radius**2 / 2), ("motion blur", length**2 / 12)):
        seen = corrupt(spot, name, 5, seed=1)[..., 0].astype(float)
        moment = (seen * (x**2 + y**2)).sum() / seen.sum() - own
        assert moment == pytest.approx(expected, rel=0.1, abs=0.5)  # sharing a point among its neighbours adds up to half a pixel


def test_kernel_shares_a_point_among_its_neighbours():
    assert _splat(np.array([0.25]), np.array([0.5]))[2:4, 2:4] == pytest.approx(np.array([[0.375, 0.125], [0.375, 0.125]]))


def test_noise_has_its_deviation_and_keeps_grey_grey():
    grey = np.full((200, 200, 3), 128, np.uint8)
    noisy = corrupt(grey, "noise", 2)
    assert noisy[..., 0].std() == pytest.approx(0.08 * 255, rel=0.03)
    assert (noisy == noisy[..., :1]).all()
    coloured = grey.copy()
    coloured[..., 0] += 1
    assert np.corrcoef(corrupt(coloured, "noise", 2).reshape(-1, 3).T)[0, 1] == pytest.approx(0, abs=0.03)


def test_contrast_keeps_the_mean_and_cast_keeps_the_product_of_the_channels(images):
    image = images[0] // 2 + 30
    flat = corrupt(image, "contrast", 3)
    assert flat.mean(axis=(0, 1)) == pytest.approx(image.mean(axis=(0, 1)), abs=0.5)
    assert flat.std(axis=(0, 1)) == pytest.approx(0.45 * image.std(axis=(0, 1)), rel=0.02)
    gains = corrupt(image, "colour cast", 5, seed=2).mean(axis=(0, 1)) / image.mean(axis=(0, 1))
    assert np.log(gains).sum() == pytest.approx(0, abs=0.02)
    assert np.sqrt((np.log(gains) ** 2).mean()) == pytest.approx(0.3, abs=0.02)


def test_bias_field_is_a_smooth_gain():
    grey = np.full((64, 64, 3), 100, np.uint8)
    gain = corrupt(grey, "bias field", 5, seed=3)[..., 0] / 100
    assert max(gain.max(), 1 / gain.min()) == pytest.approx(np.exp(0.7), rel=0.02)
    assert np.abs(ndimage.laplace(gain)[1:-1, 1:-1]).max() < 0.05


def test_smaller_resolution_loses_the_finest_stripes():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert corrupt(stripes, "smaller resolution", 5).std() < 1


@pytest.mark.parametrize("arguments, words", [
    (("fog", 1), "unknown corruption 'fog'; known: noise"), (("noise", 0), "severity must be"), (("noise", 6), "severity must be"), (("noise", True), "severity must be"),
])
def test_wrong_arguments_are_named(images, arguments, words):
    with pytest.raises(ValueError, match=words):
        corrupt(images[0], *arguments)


@pytest.mark.parametrize("image", [np.zeros((64, 64, 3)), np.zeros((64, 64), np.uint8), np.zeros((31, 64, 3), np.uint8), np.zeros((64, 64, 4), np.uint8)])
def test_wrong_images_are_refused(image):
    with pytest.raises(ValueError, match="expected an image uint8"):
        corrupt(image, "noise", 1)


@pytest.mark.parametrize(("severity", "seed", "told"), [(2.0, 0, "severity must be a whole number from 1 to 5, got 2.0"), (True, 0, "severity must be"), (6, 0, "severity must be"),
                                                        (2, -1, "seed must be a whole number of at least 0, got -1"), (2, 0.5, "seed must be")])
def test_severity_and_seed_are_whole_numbers(severity, seed, told):
    with pytest.raises(ValueError, match=told):
        corrupt(np.zeros((32, 32, 3), np.uint8), "noise", severity, seed)
