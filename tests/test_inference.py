"""predict: what it takes, at which size it answers, and what it refuses."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from ehanet import predict
from ehanet.config import RunConfig
from ehanet.devices import find_device
from ehanet.inference import images_at_once, predict_each, predict_run
from ehanet.models import build_model
from ehanet.models.output import SegmentationOutput


class Brightness(nn.Module):
    """A network whose probability is the mean of the channels, so that every answer is known."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.seen = []

    def forward(self, images):
        self.seen.append(tuple(images.shape))
        return SegmentationOutput((images.mean(dim=1, keepdim=True) * self.scale).logit(eps=1e-7), [])


@pytest.fixture
def model():
    return Brightness()


rng = np.random.default_rng(0)
RGB = rng.random((40, 50, 3), dtype=np.float32)


def test_one_array_a_stack_and_a_list(model):
    expected = RGB.mean(axis=2)
    for images, count in [(RGB, 1), (np.stack([RGB] * 3), 3), ([RGB, RGB], 2)]:
        result = predict(model, images)
        assert result.shape == (count, 40, 50) and result.dtype == np.float32
        assert np.allclose(result, expected, atol=1e-5)


def test_sizes_that_differ_give_a_list_in_order(model):
    images = [RGB, RGB[:33], RGB[:, :35], RGB]
    results = predict(model, images, batch_size=2)
    assert isinstance(results, list)
    for result, image in zip(results, images, strict=True):
        assert np.allclose(result, image.mean(axis=2), atol=1e-5)


@pytest.mark.parametrize("convert, tolerance", [
    (lambda a: (a * 255).round().astype(np.uint8), 2e-3),
    (lambda a: (a * 65535).round().astype(np.uint16), 1e-5),
    (lambda a: a.astype(np.float64), 1e-5),
    (lambda a: np.concatenate([a, np.zeros_like(a[:, :, :1])], axis=2), 1e-5),
])
def test_types_and_an_alpha_channel(model, convert, tolerance):
    assert np.allclose(predict(model, convert(RGB))[0], RGB.mean(axis=2), atol=tolerance)


def test_grey_images(model):
    assert np.allclose(predict(model, RGB[:, :, 0])[0], RGB[:, :, 0], atol=1e-5)


@pytest.mark.parametrize("mode, name", [("RGB", "a.png"), ("L", "b.jpg"), ("RGBA", "c.png"), ("I;16", "d.png"), ("P", "e.png")])
def test_files(model, tmp_path, mode, name):
    grey = np.full((36, 34), 128, np.uint8)
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    image.save(tmp_path / name)
    for images in (tmp_path / name, str(tmp_path / name), [tmp_path / name]):
        assert np.allclose(predict(model, images), 128 / 255, atol=0.01)


def test_size_squashes_for_the_network_and_comes_back(model):
    smooth = np.linspace(0, 1, 50, dtype=np.float32)[None, :, None].repeat(40, 0).repeat(3, 2)
    result = predict(model, smooth, size=64)
    assert model.seen == [(1, 3, 64, 64)] and result.shape == (1, 40, 50)
    assert np.abs(result[0] - smooth[:, :, 0]).max() < 0.03
    model.input_size = 32
    predict(model, smooth)
    assert model.seen[-1] == (1, 3, 32, 32)


def test_flips_average_four_views(model):
    class Corner(Brightness):
        def forward(self, images):
            logits = torch.full_like(images[:, :1], -20.0)
            logits[:, :, 0, 0] = 20.0
            return SegmentationOutput(logits, [])

    result = predict(Corner(), RGB, flips=True)[0]
    assert result[[0, 0, -1, -1], [0, -1, 0, -1]] == pytest.approx([0.25] * 4)


def test_the_model_is_left_in_evaluation_mode_without_gradients(model):
    model.train()
    predict(model, RGB)
    assert not model.training and model.scale.grad is None


@settings(max_examples=25, deadline=None)
@given(height=st.integers(32, 70), width=st.integers(32, 70), size=st.sampled_from([None, 32, 65]))
def test_any_size_answers_at_its_own_size(height, width, size):
    assert predict(Brightness(), np.zeros((height, width, 3), np.uint8), size=size).shape == (1, height, width)


def nan_at(index):
    images = np.zeros((3, 32, 32, 3), np.float32)
    images[index, 0, 0, 0] = np.nan
    return images


def test_grey_is_one_image_with_or_without_its_channel(model):
    grey = RGB[..., 0]
    expected = predict(model, np.repeat(grey[..., None], 3, axis=2))
    for given in (grey, grey[..., None], [grey], [grey[..., None]]):
        found = predict(model, given)
        assert found.shape == (1, 40, 50) and np.array_equal(found, expected)


@pytest.mark.parametrize("images, error, message", [
    (nan_at(2), ValueError, "image 2: contains NaN"),
    ([RGB, RGB * 255], ValueError, r"image 1: floating point values must lie in \[0, 1\], found"),
    (np.zeros((32, 32, 3), np.int64), ValueError, "image 0: expected uint8, uint16 or floating point values, got int64"),
    (np.zeros((2, 32, 32, 2)), ValueError, r"image 0: expected \(H, W, 3\), \(H, W, 4\), or grey \(H, W\) or \(H, W, 1\), got shape \(32, 32, 2\)"),
    (np.zeros((3, 32, 32), np.uint8), ValueError, r"image 0: expected \(H, W, 3\).* got shape \(3, 32, 32\)"),
    (np.zeros((32, 32, 2), np.uint8), ValueError, r"image 0: expected \(H, W, 3\).* got shape \(32, 32, 2\)"),
    (np.zeros((0, 32, 3), np.uint8), ValueError, r"image 0: expected .* got shape \(0, 32, 3\)"),
    ([], ValueError, "got nothing"),
    (7, ValueError, "got int"),
    ({"a.png"}, ValueError, "a list of them; got set"),
    ({"a.png": RGB}, ValueError, "a list of them; got dict"),
    (torch.zeros(1, 3, 32, 40), ValueError, r"image 0: .* got shape \(3, 32, 40\); channels come last here: .permute\(1, 2, 0\), of a batch .permute\(0, 2, 3, 1\)"),
    ([torch.zeros(1, 3, 32, 40)], ValueError, r"image 0: .* got shape \(1, 3, 32, 40\); channels come last here"),
    (Image.new("La", (40, 32)), ValueError, "image 0: the colour space La cannot be read; convert it to RGB"),
    ("none.png", FileNotFoundError, "image none.png not found"),
])
def test_refusals_are_one_line_and_name_the_image(model, images, error, message):
    with pytest.raises(error, match=message) as raised:
        predict(model, images)
    assert "\n" not in str(raised.value)


def test_a_folder_is_one_line_that_says_to_list_its_files(model, tmp_path):
    (tmp_path / "photos").mkdir()
    for images in (str(tmp_path / "photos"), [RGB, tmp_path / "photos"]):
        with pytest.raises(ValueError, match=r"photos is a folder; list its files, as in predict\(model, sorted\(Path\('.*photos'\).glob\('\*.png'\)\)\)$"):
            predict(model, images)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1", "LA"])
def test_a_pil_image_is_an_image_whatever_its_mode(model, mode):
    image = Image.fromarray(np.repeat(np.repeat(np.array([[0, 255], [255, 0]], np.uint8), 20, 0), 25, 1)).convert("RGB").convert(mode)
    expected = np.asarray(image.convert("RGB")).mean(axis=2)[None] / 255
    assert np.allclose(predict(model, image), expected, atol=1e-3) and np.array_equal(predict(model, image), predict(model, [image]))


def test_any_iterable_of_images_is_a_list(model, tmp_path, monkeypatch):
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((36, 34, 3), 128, np.uint8)).save(tmp_path / name)
    expected = predict(model, sorted(tmp_path.iterdir()))
    for images in (tmp_path.glob("*.png"), (path for path in sorted(tmp_path.iterdir())), {"x": tmp_path / "a.png", "y": tmp_path / "b.png"}.values()):
        assert np.array_equal(predict(model, images), expected)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert np.array_equal(predict(model, "~/a.png"), expected[:1])


@pytest.mark.parametrize("options", [{"size": -5}, {"size": 0}, {"size": 64.0}, {"batch_size": 0}, {"batch_size": -1}, {"batch_size": True}])
def test_a_size_or_batch_that_is_none_is_one_line(model, options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"^{name}: expected a whole number, at least 1, or None, got {value}$"):
        predict(model, RGB, **options)
    assert not model.seen


def test_a_run_of_a_device_that_is_not_here_predicts_on_the_one_that_is(model, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="device: 'cuda:63' is not available here"):
        find_device("cuda:63")
    monkeypatch.setattr("ehanet.inference.load_best", lambda run_dir: {})
    monkeypatch.setattr("ehanet.inference.restore_model", lambda state: (model, RunConfig(device="cuda:63")))
    monkeypatch.setattr("ehanet.inference.read_record", lambda path: {"id": "0"})
    images = np.stack([np.full((32, 32, 3), level, np.uint8) for level in (50, 200)])
    found = predict_run(tmp_path, SimpleNamespace(images=images, ids=["a", "b"], splits={"test": np.array([0, 1])}))
    assert found.probabilities.mean((1, 2)) == pytest.approx([50 / 255, 200 / 255], abs=1e-4)


@pytest.mark.parametrize(("precision", "tf32"), [("float32", False), ("bfloat16", True)])
def test_float32_is_float32_on_a_gpu(precision, tf32):
    """PyTorch's default there is ten bits of it in convolutions; whoever predicts leaves the setting as it was."""
    seen = []

    class Watching(nn.Conv2d):
        def forward(self, images):
            seen.append(torch.backends.cudnn.allow_tf32)
            return super().forward(images)

    with torch.backends.cudnn.flags(enabled=True, allow_tf32=True):
        predict(Watching(3, 1, 1), np.zeros((8, 8, 3), np.uint8), precision=precision)
        assert seen == [tf32] and torch.backends.cudnn.allow_tf32


def test_a_file_that_is_no_image(model, tmp_path):
    (tmp_path / "x.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="x.png: not a readable image"):
        predict(model, tmp_path / "x.png")


def test_a_name_is_no_network():
    with pytest.raises(TypeError, match="model: expected a network, as build_model or .* gives it, got str"):
        predict("ehanet", RGB)


def test_no_more_than_two_batches_worth_of_images_wait(model):
    """Of small images 16 share a batch, of large ones 2; what waits is counted in batches, whatever comes after it."""
    taken = []

    def stream():
        for index, (height, width) in enumerate([(32 + place, 32) for place in range(24)] + [(500, 500 + place) for place in range(12)]):
            taken.append(index)
            yield index, np.full((height, width, 3), 0.5, np.float32)

    most = 0
    done = set()
    for index, _ in predict_each(model, stream()):
        done.add(index)
        waiting = [place for place in taken if place not in done]
        most = max(most, sum(1 / 16 if place < 24 else 1 / 2 for place in waiting))
    assert len(done) == 36 and 1.5 <= most <= 2


def test_a_cpu_predicts_more_small_images_at_once_than_large_ones(model):
    predict(model, [RGB] * 20)
    assert model.seen == [(16, 3, 40, 50), (4, 3, 40, 50)]
    cpu = torch.device("cpu")
    assert [images_at_once(cpu, side**2) for side in (32, 256, 512, 724, 1024, 4000)] == [16, 8, 2, 1, 1, 1]


def test_an_unknown_precision_is_refused(model):
    with pytest.raises(ValueError, match="^precision: 'half' is none of auto, float32, bfloat16$"):
        predict(model, RGB, precision="half")


def test_a_network_in_another_type_and_tensors_as_images():
    model = build_model("unet-32").eval()
    images = np.random.default_rng(0).integers(0, 255, (6, 32, 32, 3), dtype=np.uint8)
    plain = predict(model, images)
    assert np.array_equal(predict(model, torch.from_numpy(images)), plain)
    narrow = torch.from_numpy(images[:1]).div(255).bfloat16()
    assert np.array_equal(predict(model, narrow), predict(model, narrow.float()))
    found = predict(model.double(), images)
    assert found.dtype == np.float32 and np.allclose(found, plain, atol=1e-4)
