"""The training loop: protocols, schedules, resuming after a kill, and what it refuses."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from ehanet import load_run
from ehanet.checkpoints import load_checkpoint
from ehanet.config import DEFECTS, RunConfig
from ehanet.data import load_dataset
from ehanet.history import HISTORY
from ehanet.models.registry import _METHODS, register
from ehanet.recipe import batches, learning_rate_factor
from ehanet.training import Trainer, fit


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A user's folder of 20 images: a bright disc on noise."""
    root = tmp_path_factory.mktemp("own") / "discs"
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for index in range(20):
        row, column, radius = rng.uniform(8, 24), rng.uniform(8, 24), rng.uniform(4, 8)
        mask = (y - row) ** 2 + (x - column) ** 2 < radius**2
        image = rng.uniform(0, 90, (32, 32, 3)) + 120 * mask[:, :, None]
        Image.fromarray(image.astype(np.uint8)).save(root / "images" / f"{index}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / "masks" / f"{index}.png")
    return root


@pytest.fixture
def config(folder):
    return RunConfig(dataset=str(folder), size=32, epochs=2, batch_size=8, learning_rate=2e-3, optimizer="adamw",
                     schedule="one-cycle", precision="float32", device="cpu")


def weights(run_dir: Path) -> list[torch.Tensor]:
    return list(load_checkpoint(run_dir / "best.pt")["model"].values())


def test_float32_is_float32_on_cuda_too(config, tmp_path, monkeypatch):
    """PyTorch's default for convolutions is TF32; two machines would then train with other arithmetic under one name."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    data = load_dataset(config.dataset, size=32)
    Trainer(replace(config, precision="bfloat16"), data, tmp_path / "bfloat16")
    assert torch.backends.cudnn.allow_tf32
    Trainer(config, data, tmp_path / "float32")
    assert not torch.backends.cudnn.allow_tf32


def test_a_run_leaves_what_it_promises(config, tmp_path):
    record = fit(config, tmp_path / "laptop" / "discs" / "ehanet" / "seed0", progress=False)
    run_dir = tmp_path / "laptop" / "discs" / "ehanet" / "seed0"
    assert {p.name for p in run_dir.iterdir()} == {"config.json", "history.csv", "last.pt", "best.pt", "record.json", "tensorboard"}
    history = pd.read_csv(run_dir / "history.csv")
    assert list(history) == HISTORY and list(history.epoch) == [1, 2] and list(history.steps) == [2, 4]
    assert history.val_dice.between(0, 1).all() and record["best"]["val_dice"] == pytest.approx(history.val_dice.max())
    assert record["kind"] == "run" and record["config"] == config.to_dict() and record["steps"] == 4
    assert record["encoder"] == "random, trained" and "encoder: random, trained" in record["warnings"]
    run = load_run("laptop/discs/ehanet/seed0", runs=tmp_path)
    assert run.config == config and run.scores is None and run.record["id"] == record["id"]
    assert fit(config, run_dir, progress=False) == record, "a finished run returns its record"


KILLED = """
import sys
from pathlib import Path
from ehanet.config import RunConfig
from ehanet import training
import torch; torch.set_num_threads({threads})
training.fit(RunConfig.from_dict({config!r}), Path({run_dir!r}), progress=False)
"""


def test_a_killed_run_goes_on_to_the_same_result(config, tmp_path):
    config = RunConfig.from_dict(config.to_dict() | {"epochs": 4})
    fit(config, tmp_path / "whole", progress=False)
    code = KILLED.format(config=config.to_dict(), run_dir=str(tmp_path / "killed"), threads=torch.get_num_threads())
    process = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])})
    deadline = time.time() + 120
    while not (tmp_path / "killed" / "last.pt").is_file() and process.poll() is None and time.time() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "killed" / "last.pt").is_file() and not (tmp_path / "killed" / "record.json").exists()
    fit(config, tmp_path / "killed", progress=False)
    assert all(torch.equal(a, b) for a, b in zip(weights(tmp_path / "whole"), weights(tmp_path / "killed"), strict=True))
    columns = [name for name in HISTORY if name != "seconds"]
    whole, killed = (pd.read_csv(tmp_path / name / "history.csv")[columns] for name in ("whole", "killed"))
    pd.testing.assert_frame_equal(whole, killed, check_exact=True)


def test_another_seed_gives_another_result(config, tmp_path):
    for seed in (0, 1):
        fit(RunConfig.from_dict(config.to_dict() | {"epochs": 1, "seed": seed}), tmp_path / str(seed), progress=False)
    assert not all(torch.equal(a, b) for a, b in zip(weights(tmp_path / "0"), weights(tmp_path / "1")))


def test_order_and_augmentation_change_with_the_epoch_and_with_the_seed(config, tmp_path, monkeypatch):
    data, seen = load_dataset(config.dataset, size=32), {}
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        trainer = Trainer(RunConfig.from_dict(config.to_dict() | {"seed": seed}), data, tmp_path / name)
        drawn = trainer.batch

        def batch(indices, generator):
            found = drawn(indices, generator)
            seen.setdefault((name, trainer.epoch), []).append((list(indices), found[0].sum().item()))
            return found

        monkeypatch.setattr(trainer, "batch", batch)
        monkeypatch.setattr(trainer, "step", lambda batch: torch.zeros(()))
        trainer.run_epoch()
        trainer.run_epoch()
    orders = {key: [index for indices, _ in batches for index in indices] for key, batches in seen.items()}
    assert all(sorted(order) == data.splits["train"].tolist() for order in orders.values())
    assert len({tuple(orders[key]) for key in (("first", 0), ("first", 1), ("other", 0), ("other", 1))}) == 4
    assert seen["first", 0] == seen["again", 0] and seen["first", 1] == seen["again", 1]
    sums = {key: sum(value for _, value in batches) for key, batches in seen.items()}
    assert len({round(sums[key], 3) for key in (("first", 0), ("first", 1), ("other", 0), ("other", 1))}) == 4, "each epoch is augmented anew"


def test_a_folder_of_another_configuration_is_refused(config, tmp_path):
    fit(RunConfig.from_dict(config.to_dict() | {"epochs": 1}), tmp_path, progress=False)
    with pytest.raises(ValueError, match="another configuration .*epochs: 2 here, 1 there"):
        fit(config, tmp_path, progress=False)


def test_training_learns(config, tmp_path):
    record = fit(RunConfig.from_dict(config.to_dict() | {"epochs": 25, "batch_size": 4, "augmentation": "flips"}), tmp_path, progress=False)
    assert record["best"]["val_dice"] > 0.6


@pytest.mark.parametrize("protocol, key", [("corrected", "val_dice"), ("released", "val_loss"), ("checkpoint-by-loss", "val_loss")])
def test_which_checkpoint_is_kept(config, tmp_path, protocol, key):
    record = fit(RunConfig.from_dict(config.to_dict() | {"epochs": 4, "protocol": protocol}), tmp_path, progress=False)
    history = pd.read_csv(tmp_path / "history.csv")
    expected = history.val_dice.idxmax() if key == "val_dice" else history.val_loss.idxmin()
    assert record["best"]["epoch"] == history.epoch[expected] == load_checkpoint(tmp_path / "best.pt")["epoch"]


def edge_labels_seen(config, tmp_path, monkeypatch):
    """Mask and edge label of every training step."""
    seen = []
    from ehanet.losses import EHANetLoss

    class Spy(EHANetLoss):
        def __call__(self, output, mask, edge_label=None):
            if output.logits.requires_grad:
                seen.append((mask, edge_label))
            return super().__call__(output, mask, edge_label)

    monkeypatch.setitem(_METHODS, "ehanet", type(_METHODS["ehanet"])("ehanet", _METHODS["ehanet"].build, Spy))
    fit(config, tmp_path, progress=False)
    return seen


def test_corrected_edges_follow_the_augmented_mask(config, tmp_path, monkeypatch):
    from ehanet.data.edges import edge_labels

    for mask, edge in edge_labels_seen(config, tmp_path, monkeypatch):
        assert torch.equal(edge, edge_labels(mask, 3))


def test_released_edges_do_not(config, tmp_path, monkeypatch):
    from ehanet.data.edges import released_edge_labels

    config = RunConfig.from_dict(config.to_dict() | {"protocol": "released", "augmentation": "flips"})
    pairs = edge_labels_seen(config, tmp_path, monkeypatch)
    assert not all(torch.equal(edge, released_edge_labels(mask)) for mask, edge in pairs)


@pytest.mark.parametrize("protocol, resized, augmented", [
    ("edges-unaugmented", False, False), ("edges-resized", True, True), ("edges-unaugmented+edges-resized", True, False), ("checkpoint-by-loss", False, True)])
def test_one_defect_at_a_time(config, tmp_path, monkeypatch, protocol, resized, augmented):
    from ehanet.data.edges import edge_labels, released_edge_labels

    config = RunConfig.from_dict(config.to_dict() | {"protocol": protocol, "augmentation": "flips", "epochs": 1})
    draw = released_edge_labels if resized else edge_labels
    pairs = edge_labels_seen(config, tmp_path, monkeypatch)
    assert all(torch.equal(edge, draw(mask)) for mask, edge in pairs) == augmented
    # a flip moves an edge but leaves its length: a label of the right kind, whatever its place
    assert all(edge.sum() == draw(mask).sum() for mask, edge in pairs)


def test_defects_of_a_protocol():
    names = {"corrected": set(), "released": set(DEFECTS), "edges-resized": {"edges-resized"}, "edges-resized+checkpoint-by-loss": {"edges-resized", "checkpoint-by-loss"}}
    assert {name: set(RunConfig(protocol=name).defects) for name in names} == names


def test_a_configuration_of_before_the_loss_options_still_loads(config):
    old = {key: value for key, value in config.to_dict().items() if key != "loss_options"}
    assert RunConfig.from_dict(old) == config and not config.differences(RunConfig.from_dict(old))


def test_frozen_encoder_keeps_its_parameters_and_moves_its_statistics(config, tmp_path):
    config = RunConfig.from_dict(config.to_dict() | {"freeze_encoder": "always", "epochs": 1})
    fit(config, tmp_path, progress=False)
    torch.manual_seed(config.seed)
    from ehanet.models import EHANet

    before, after = EHANet().state_dict(), load_checkpoint(tmp_path / "best.pt")["model"]
    encoder = [name for name in before if name.startswith("encoder.") and not name.endswith("num_batches_tracked")]
    statistics = [name for name in encoder if "running" in name]
    assert all(torch.equal(before[name], after[name]) for name in encoder if "running" not in name)
    assert not any(torch.equal(before[name], after[name]) for name in statistics)
    assert not torch.equal(before["head.0.weight"], after["head.0.weight"])


def test_a_random_encoder_is_trained_unless_asked_otherwise(config, tmp_path):
    record = fit(RunConfig.from_dict(config.to_dict() | {"freeze_encoder": "pretrained", "epochs": 1}), tmp_path, progress=False)
    assert record["encoder"] == "random, trained"


def test_a_split_without_validation_images_is_refused_before_the_first_step(folder, config, tmp_path):
    split = folder.parent / "discs.split.csv"
    split.write_text("name,split\n" + "".join(f"{index}.png,{'train' if index < 15 else 'test'}\n" for index in range(20)))
    try:
        with pytest.raises(ValueError, match="discs: the split discs.split.csv has no images for val, which choose the checkpoint"):
            fit(config, tmp_path, progress=False)
    finally:
        split.unlink()
    assert not (tmp_path / "history.csv").exists()


def test_deterministic_asks_torch_for_it_and_the_next_run_is_free_again(config, tmp_path, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    data = load_dataset(config.dataset, size=32)
    Trainer(RunConfig.from_dict(config.to_dict() | {"deterministic": True}), data, tmp_path)
    assert torch.are_deterministic_algorithms_enabled() and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    Trainer(config, data, tmp_path)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_loss_that_is_not_finite_stops_with_the_images(config, tmp_path, monkeypatch):
    class Broken:
        def __call__(self, output, mask, edge_label=None):
            from ehanet.losses import LossTerms
            return LossTerms(output.logits.sum() * float("nan"), None, [])

    monkeypatch.setitem(_METHODS, "broken", None)
    del _METHODS["broken"]
    register("broken", loss=Broken)(_METHODS["ehanet"].build)
    with pytest.raises(ValueError, match=r"loss is nan in epoch 1 on images \d+, .* smaller learning_rate"):
        fit(RunConfig.from_dict(config.to_dict() | {"method": "broken", "label": "broken"}), tmp_path, progress=False)
    assert not (tmp_path / "record.json").exists()


@pytest.mark.parametrize("count, sizes", [(8, [4, 4]), (9, [4, 5]), (10, [4, 4, 2]), (4, [4]), (2, [2])])
def test_no_batch_of_one(count, sizes):
    parts = batches(np.arange(count), 4)
    assert [len(part) for part in parts] == sizes
    assert np.concatenate(parts).tolist() == list(range(count))


def test_one_image_cannot_train():
    with pytest.raises(ValueError, match="at least 2 images"):
        batches(np.arange(1), 4)


def test_schedules():
    assert {learning_rate_factor("constant", p) for p in (0, 0.3, 1)} == {1.0}
    assert learning_rate_factor("one-cycle", 0) == pytest.approx(1 / 25)
    assert learning_rate_factor("one-cycle", 0.3) == 1
    assert learning_rate_factor("one-cycle", 0.65) == pytest.approx(0.5, abs=1e-4)
    assert learning_rate_factor("one-cycle", 1) == pytest.approx(4e-6)
    assert [learning_rate_factor("cosine", p) for p in (0, 0.025, 0.05, 1)] == pytest.approx([0, 0.5, 1, 0])


@pytest.mark.parametrize("values, message", [
    ({"epoch": 3}, "unknown setting 'epoch'; known: method, dataset"),
    ({"epochs": "3"}, "epochs: expected int, got '3'"),
    ({"epochs": True}, "epochs: expected int, got True"),
    ({"epochs": 0}, "epochs: must be above 0"),
    ({"batch_size": 1}, "batch_size: must be at least 2, since batch norm"),
    ({"protocol": "fixed"}, "protocol: 'fixed' is none of corrected, released"),
    ({"edge_width": 4}, "edge_width: must be odd"),
    ({"edge_width": 5, "protocol": "edges-resized"}, "edge_width: the edge labels of protocol 'edges-resized' have no width to choose; leave it out"),
    ({"options": {"encoder": "resnet18"}}, "options: encoder is a setting of its own; write it beside options"),
    ({"size": 16}, "size: must be from 32 to 4096 pixels"),
])
def test_configuration_errors_name_the_way_out(values, message):
    with pytest.raises(ValueError, match=message):
        RunConfig.from_dict(values)
