"""What the strong recipe adds to the training loop: starting from a trained network, and predictions averaged over flips."""

import numpy as np
import pytest
import torch

from ehanet.checkpoints import load_best, restore_model
from ehanet.config import RunConfig
from ehanet.data import load_dataset
from ehanet.files import file_sha256
from ehanet.hub import CHECKPOINT, WEIGHTS, describe_run
from ehanet.inference import predict, predict_run
from ehanet.metrics.regions import dice_per_image
from ehanet.models import EHANet
from ehanet.models.flips import mean_prediction
from ehanet.models.output import SegmentationOutput
from ehanet.models.pretrained import save_weights
from ehanet.training import Trainer, fit

SIZE = 32


@pytest.fixture(scope="module")
def data():
    return load_dataset("phantom-polyp", size=SIZE)


@pytest.fixture
def config():
    return RunConfig(dataset="phantom-polyp", size=SIZE, epochs=1, epoch_images=16, batch_size=8, learning_rate=1e-3, encoder="mobilenetv1_100", precision="float32", device="cpu")


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """An EHANet with weights unlike any fresh one's, in a file that says which images it saw."""
    torch.manual_seed(5)
    model = EHANet(encoder="mobilenetv1_100")
    counts = ", ".join(f"{count} {part}" for part, count in data.manifest["split"]["counts"].items())
    model.about = {"data": [{"name": "phantom-polyp", "counts": counts}], "recipe": {"Device": "a GPU", "Length": "three days"}}
    path = tmp_path_factory.mktemp("weights") / "trained.safetensors"
    save_weights(model, path)
    return path


def test_a_run_starts_from_the_whole_network_of_a_file(config, data, trained, tmp_path):
    config = RunConfig.from_dict(config.to_dict() | {"initial_weights": str(trained)})
    started, fresh = Trainer(config, data, tmp_path / "a"), Trainer(RunConfig.from_dict(config.to_dict() | {"initial_weights": None}), data, tmp_path / "b")
    wanted = EHANet.from_pretrained(trained).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in started.model.state_dict().items())
    assert not all(torch.equal(value, wanted[name]) for name, value in fresh.model.state_dict().items())
    record = fit(config, tmp_path / "run", progress=False)
    assert record["encoder"] == "whole network from trained.safetensors, fine-tuned" and record["initial_weights_sha256"] == file_sha256(trained)
    assert not any(warning.startswith("encoder:") for warning in record["warnings"])
    trained_weights = load_best(tmp_path / "run")["model"]
    assert not all(torch.equal(value, wanted[name]) for name, value in trained_weights.items()), "it trains on from there"
    card = describe_run(record, [])["recipe"]
    assert card["Starts from"] == "all weights of trained.safetensors" and card["Before"] == "Device: a GPU; Length: three days"


@pytest.mark.parametrize("changes, message", [
    ({"encoder": "mobilevit_xxs"}, "initial_weights: trained.safetensors holds another network .its encoder: mobilenetv1_100. than EHANet as configured"),
    ({"options": {"iem": False}}, "initial_weights: trained.safetensors holds another network"),
    ({"initial_weights": "nowhere.safetensors"}, "weights file nowhere.safetensors not found"),
])
def test_weights_that_do_not_fit_are_refused_in_one_line(config, data, trained, tmp_path, changes, message):
    config = RunConfig.from_dict(config.to_dict() | {"initial_weights": str(trained)} | changes)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        Trainer(config, data, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("told", [lambda data: {}, lambda data: {"split": "0" * 16, "counts": "300 train, 10 val, 10 test"}])
def test_weights_that_may_have_seen_the_test_images_are_refused(config, data, trained, tmp_path, told):
    model = EHANet.from_pretrained(trained)
    model.about = {"data": [{"name": "phantom-polyp", "counts": "300 train, 10 val, 10 test"} | told(data)]}
    save_weights(model, tmp_path / "other.safetensors")
    config = RunConfig.from_dict(config.to_dict() | {"initial_weights": str(tmp_path / "other.safetensors")})
    with pytest.raises(ValueError, match="was trained on another split of phantom-polyp .*300 train, 10 val, 10 test; here .* may have seen the test images"):
        Trainer(config, data, tmp_path / "run")


def test_flips_are_turned_back():
    """A network that marks the upper left corner, and one that is the same for every flip."""
    def corner(images):
        logits = torch.full_like(images[:, :1], -50.0)
        logits[..., 0, 0] = 50.0
        return SegmentationOutput(logits, [], torch.cat([1 - logits.sigmoid(), logits.sigmoid()], dim=1))

    found, edge = mean_prediction(corner, torch.zeros(2, 3, SIZE, SIZE), True)
    assert found.shape == edge.shape == (2, SIZE, SIZE)
    corners = [found[:, row, column] for row in (0, -1) for column in (0, -1)]
    assert all(torch.allclose(value, torch.tensor(0.25)) for value in corners) and found.sum() == pytest.approx(2.0, abs=1e-5)
    assert torch.allclose(edge, found) and mean_prediction(corner, torch.zeros(1, 3, SIZE, SIZE), False)[0][0, 0, 0] == 1
    images = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    same = mean_prediction(lambda image: SegmentationOutput(image[:, :1], []), images, True)
    assert torch.allclose(same[0], images[:, 0].sigmoid(), atol=1e-6) and same[1] is None


def test_test_flips_hold_for_validation_and_for_the_test_split(config, data, tmp_path):
    shipped = {"encoder": "mobilenetv1_100.keras", "initial_weights": str(WEIGHTS / CHECKPOINT), "learning_rate": 1e-6}  # its predictions mean something
    config = RunConfig.from_dict(config.to_dict() | {"test_flips": True} | shipped)
    record = fit(config, tmp_path, progress=False)
    model, _ = restore_model(load_best(tmp_path))
    val, test = data.splits["val"], data.splits["test"]
    by_hand = predict(model, data.images[val], flips=True)
    assert record["best"]["val_dice"] == pytest.approx(dice_per_image(by_hand, data.masks[val] > 0).mean(), abs=1e-4)
    maps = predict_run(tmp_path, data)
    assert np.abs(maps.probabilities - predict(model, data.images[test], flips=True)).max() < 1e-3
    assert np.abs(maps.probabilities - predict(model, data.images[test])).max() > 0.05, "the flips change something"
