"""Phantom data sets: shapes, seeds, sizes, patients, and that they are no toy."""

import subprocess
import sys

import numpy as np
import pytest

from ehanet.data.phantoms import COUNT, PHANTOMS, make_phantom

NAMES = list(PHANTOMS)
SIZE = 64


@pytest.fixture(scope="module")
def phantoms():
    return {name: make_phantom(name, SIZE) for name in NAMES}


def dice(prediction, mask):
    both = prediction.sum() + mask.sum()
    return 1.0 if both == 0 else 2 * (prediction & mask).sum() / both


def otsu(values):
    """The threshold that maximises the variance between the classes (Otsu 1979), values 0 to 255."""
    weight = np.bincount(values.astype(int).ravel(), minlength=256) / values.size
    below, first = np.cumsum(weight), np.cumsum(weight * np.arange(256))
    spread = below * (1 - below)
    between = np.divide((first[-1] * below - first) ** 2, spread, out=np.zeros(256), where=spread > 1e-9)
    return between.argmax()


def best_threshold(images, masks):
    """Mean Dice of Otsu's threshold in the best of the four channels, in each image's better direction."""
    channels = (*np.moveaxis(images, -1, 0), images.mean(axis=-1))
    bright = [[field > otsu(field) for field in channel] for channel in channels]
    return max(np.mean([max(dice(b, mask), dice(~b, mask)) for b, mask in zip(one, masks)]) for one in bright)


def test_otsu_parts_two_levels():
    assert 10 <= otsu(np.repeat([10, 200], [70, 30])) < 200


def test_the_four_names():
    assert NAMES == ["phantom-polyp", "phantom-nuclei", "phantom-lesion", "phantom-glioma"]


@pytest.mark.parametrize("name", NAMES)
def test_shapes_types_and_ids(phantoms, name):
    images, masks, ids, groups = phantoms[name]
    assert images.shape == (COUNT, SIZE, SIZE, 3) and images.dtype == np.uint8
    assert masks.shape == (COUNT, SIZE, SIZE) and masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 1}
    assert len(ids) == len(set(ids)) == len(groups) == COUNT
    assert ids == sorted(ids)


@pytest.mark.parametrize("name", NAMES)
def test_no_two_images_are_alike(phantoms, name):
    assert len({image.tobytes() for image in phantoms[name].images}) == COUNT


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides(name):
    first, again, other = (make_phantom(name, 32, seed) for seed in (5, 5, 6))
    assert np.array_equal(first.images, again.images) and np.array_equal(first.masks, again.masks)
    assert not np.array_equal(first.masks, other.masks)
    assert (first.images != other.images).mean() > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_the_same_scene_at_every_size(phantoms, name):
    large, half, small = phantoms[name], SIZE // 2, make_phantom(name, SIZE // 2)
    masks = large.masks.reshape(COUNT, half, 2, half, 2).mean(axis=(2, 4)) >= 0.5
    assert np.mean([dice(a, b) for a, b in zip(masks, small.masks.astype(bool))]) > 0.93
    images = large.images.reshape(COUNT, half, 2, half, 2, 3).mean(axis=(2, 4))
    assert np.abs(images - small.images).mean() < 10


def test_patients_have_neighbouring_slices_with_and_without_tumour(phantoms):
    _, masks, ids, groups = phantoms["phantom-glioma"]
    assert len(set(groups)) == 40
    assert all(i.startswith(g) for i, g in zip(ids, groups))
    volumes = masks.reshape(40, 8, SIZE, SIZE).astype(bool)
    present = volumes.any(axis=(2, 3))
    assert (present.sum(axis=1) == 6).all()
    for volume, tumour in zip(volumes, present):
        slices = np.flatnonzero(tumour)
        assert np.array_equal(slices, np.arange(slices[0], slices[0] + 6))
        assert np.mean([dice(volume[k], volume[k + 1]) for k in slices[:-1]]) > 0.6


@pytest.mark.parametrize("name", NAMES[:3])
def test_the_other_sets_have_no_empty_masks(phantoms, name):
    assert phantoms[name].masks.any(axis=(1, 2)).all()


@pytest.mark.parametrize("name", NAMES)
def test_predicting_nothing_or_everything_scores_below_0_3(phantoms, name):
    """What an untrained network does, whichever way its last bias points."""
    masks = phantoms[name].masks.astype(bool)
    for answer in (False, True):
        assert np.mean([dice(np.full_like(mask, answer), mask) for mask in masks]) < 0.3


@pytest.mark.parametrize("name", NAMES)
def test_no_otsu_threshold_solves_it(phantoms, name):
    """Red, green, blue and grey; of each image the better direction, which flatters the threshold."""
    images, masks = phantoms[name].images, phantoms[name].masks.astype(bool)
    assert best_threshold(images, masks) < 0.55


def test_channels_tell_the_modality(phantoms):
    """Pink mucosa, grey fluorescence beside stained tissue, brown skin, dark surroundings of a head."""
    polyp, nuclei, lesion, glioma = (phantoms[name].images.astype(float) for name in NAMES)
    assert (polyp.mean(axis=(1, 2))[:, 0] > 1.2 * polyp.mean(axis=(1, 2))[:, 2]).all()
    grey = np.array([(image[..., 0] == image[..., 2]).all() for image in nuclei])
    assert 0.6 < grey.mean() < 0.8
    assert nuclei[grey].mean() < 70 < 130 < nuclei[~grey].mean()
    assert (lesion[:, 24:40, 24:40].mean(axis=(1, 2))[:, 0] > lesion[:, 24:40, 24:40].mean(axis=(1, 2))[:, 2]).mean() > 0.9
    assert glioma[:, :4].mean() < 10 and glioma[:, 24:40, 24:40].mean() > 40


@pytest.mark.parametrize("arguments, message", [
    (("phantom-polyps", 64), "unknown phantom 'phantom-polyps'; known: phantom-polyp, phantom-nuclei"),
    (("phantom-polyp", 16), "size must be at least 32"),
    (("phantom-polyp", 64, -1), "seed must not be negative"),
])
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_phantom(*arguments)


def test_import_needs_no_torch():
    code = "import sys, ehanet.data.phantoms; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_training_beats_the_threshold(name, tmp_path):
    """Under 200 steps of EHANet at 64 px: at least 0.75 on the test set, 0.2 above any threshold."""
    from ehanet import build_model, load_run, predict
    from ehanet.config import RunConfig
    from ehanet.data import load_dataset
    from ehanet.training import fit

    data = load_dataset(name, size=SIZE)
    rows = data.splits["test"]
    images, masks = np.asarray(data.images[rows]), np.asarray(data.masks[rows]).astype(bool)

    def score(model):
        return np.mean([dice(p > 0.5, mask) for p, mask in zip(predict(model, images), masks)])

    assert score(build_model("ehanet")) < 0.3
    config = RunConfig(dataset=name, size=SIZE, epochs=12, optimizer="adamw", learning_rate=2e-3,
                       schedule="one-cycle", augmentation="flips")
    fit(config, tmp_path / "run", progress=False)
    trained = score(load_run(tmp_path / "run").model)
    assert trained >= 0.75
    assert trained - best_threshold(images, masks) >= 0.2
