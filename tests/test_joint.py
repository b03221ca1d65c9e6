"""Unions of data sets: every part keeps its split, epochs draw the same number from each."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ehanet.checkpoints import load_checkpoint
from ehanet.config import RunConfig
from ehanet.data import load_dataset
from ehanet.data.catalogue import PHANTOM_NAMES, UNIONS, parts_of
from ehanet.data.joint import balanced_draw
from ehanet.data.phantoms import PHANTOMS
from ehanet.publishing import publish_best
from ehanet.records import read_record
from ehanet.recipe import update_average
from ehanet.robustness import write_phantom_folder
from ehanet.training import Trainer, fit


def test_the_phantoms_are_named_once():
    assert set(PHANTOM_NAMES) == set(PHANTOMS) and parts_of("lgg") == ("lgg",) and len(UNIONS["universal"]) == 8


def test_a_union_keeps_images_and_splits_of_its_parts():
    whole = load_dataset("universal-phantoms", size=32)
    start = 0
    for name in PHANTOM_NAMES:
        part = load_dataset(name, size=32)
        stop = start + len(part.ids)
        np.testing.assert_array_equal(whole.images[start:stop], part.images)
        assert whole.ids[start:stop] == [f"{name}/{image}" for image in part.ids]
        for split, indices in part.splits.items():
            mine = whole.splits[split]
            np.testing.assert_array_equal(mine[(mine >= start) & (mine < stop)] - start, indices)
        assert whole.manifest["parts"][name] == len(part.ids)
        start = stop
    assert start == len(whole.ids) == whole.manifest["count"] and whole.manifest["modality"] == "phantom"


def test_a_split_file_for_a_union_is_refused(tmp_path):
    with pytest.raises(ValueError, match="universal-phantoms keeps the splits of its parts"):
        load_dataset("universal-phantoms", size=32, split=tmp_path / "mine.csv")


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(2, 90), st.integers(0, 9))
def test_a_balanced_draw(sizes, count, seed):
    indices = np.arange(sum(sizes))
    parts = {f"set {number}": size for number, size in enumerate(sizes)}
    drawn = balanced_draw(indices, parts, count, np.random.default_rng(seed))
    share = max(1, round(count / len(sizes)))
    for low, size in zip(np.cumsum([0, *sizes]), sizes):
        part = drawn[(drawn >= low) & (drawn < low + size)]
        repeats = np.unique(part, return_counts=True)[1]
        assert len(part) == share and repeats.max() <= -(-share // size)
    np.testing.assert_array_equal(drawn, balanced_draw(indices, parts, count, np.random.default_rng(seed)))


def test_a_draw_from_no_images_is_empty():
    assert balanced_draw(np.arange(0), {"lgg": 3}, 8, np.random.default_rng(0)).shape == (0,)


def test_phantoms_beside_real_images_give_a_quarter():
    drawn = balanced_draw(np.arange(30), {"lgg": 10, "phantom-polyp": 10, "kvasir-seg": 10}, 9, np.random.default_rng(0))
    assert [int(((drawn >= low) & (drawn < low + 10)).sum()) for low in (0, 10, 20)] == [4, 1, 4]


SHORT = RunConfig(method="unet-32", dataset="universal-phantoms", size=32, epochs=2, batch_size=8, epoch_images=16, ema=0.9, learning_rate=1e-3, augmentation="none")


def test_training_draws_as_many_as_asked_and_keeps_the_average(tmp_path):
    data = load_dataset("universal-phantoms", size=32)
    small = replace(data, splits={**data.splits, "val": data.splits["val"][::20]})
    trainer = Trainer(SHORT, small, tmp_path / "whole")
    trainer.resume()
    first = trainer.run_epoch()
    assert first["steps"] == 2 and trainer.total_steps == 4
    weight = next(name for name, value in trainer.model.state_dict().items() if value.ndim == 4)
    best, last = (load_checkpoint(tmp_path / "whole" / f"{name}.pt") for name in ("best", "last"))
    assert not best["model"][weight].equal(last["model"][weight]) and best["model"][weight].equal(last["average"][weight])
    trainer.run_epoch()
    again = Trainer(SHORT, small, tmp_path / "whole")  # goes on from last.pt of epoch 2
    again.resume()
    assert again.epoch == 2
    for mine, theirs in zip(again.average.state_dict().values(), trainer.average.state_dict().values()):
        assert mine.equal(theirs)


def test_the_run_that_validates_best_is_published(tmp_path, monkeypatch):
    monkeypatch.setitem(UNIONS, "universal-phantoms", ("phantom-nuclei", "phantom-lesion"))
    config = replace(SHORT, method="ehanet", epochs=1, ema=0.0)
    for seed in (0, 1):
        fit(replace(config, seed=seed), tmp_path / "runs" / "ehanet" / f"seed{seed}", progress=False)
    rows = [{"method": "ehanet", "label": "ehanet", "seed": seed} for seed in (0, 1)]
    target = tmp_path / "weights" / "net.safetensors"
    with pytest.raises(ValueError, match="^.*seed7: no checkpoint here, and publishing needs one; run make paper without KEEP=1$"):
        publish_best("universal-phantoms", 32, None, tmp_path / "runs", tmp_path / "reports", [*rows, rows[0] | {"seed": 7, "kept": True}], target)
    rows[0]["kept"] = True  # its checkpoint is here all the same
    monkeypatch.setattr("ehanet.publishing.edge_notes", lambda data, maps: [f"{data.name}: the edges of {maps.run}"])
    found = publish_best("universal-phantoms", 32, None, tmp_path / "runs", tmp_path / "reports", rows, target)
    dice = [read_record(tmp_path / "runs" / "ehanet" / f"seed{seed}" / "record.json")["best"]["val_dice"] for seed in (0, 1)]
    assert found["val_dice"] == max(dice) and found["seed"] == int(np.argmax(dice)) and found["bytes"] == target.stat().st_size
    card = target.with_suffix(".md").read_text()
    assert "Phantom nuclei" in card and "Phantom skin lesions" in card
    chosen = read_record(tmp_path / "runs" / "ehanet" / f"seed{found['seed']}" / "record.json")["id"]
    assert all(f"- {part}: the edges of {chosen}\n" in card for part in UNIONS["universal-phantoms"])
    for part in UNIONS["universal-phantoms"]:
        assert (tmp_path / "reports" / "tables" / f"comparison_{part}.csv").is_file()
        scored = read_record(tmp_path / "reports" / "scores" / part / f"ehanet__seed{found['seed']}.json")["id"]
        assert scored in read_record(tmp_path / "reports" / "tables" / f"score_choice_{part}.json")["inputs"]


def test_a_network_of_a_folder_of_ones_own_is_published_by_its_name(tmp_path):
    folder = write_phantom_folder("phantom-polyp", 32, tmp_path, 1).rename(tmp_path / "clinic")
    fit(replace(SHORT, dataset=str(folder), method="ehanet", encoder="resnet18", epochs=1, ema=0.0), tmp_path / "runs" / "ehanet" / "seed0", progress=False)
    target = tmp_path / "net.safetensors"
    publish_best(str(folder), 32, None, tmp_path / "runs", tmp_path / "reports", [{"method": "ehanet", "label": "ehanet", "seed": 0}], target)
    card = target.with_suffix(".md").read_text()
    assert (tmp_path / "reports/tables/comparison_clinic.csv").is_file() and "clinic (" in card and str(tmp_path) not in card


@pytest.mark.parametrize("steps, expected", [(0, 4), (1, 4 * 9 / 11), (1000, 2)])  # the first copies, decay (1 + 1) / (10 + 1), then the one asked for
def test_the_average_by_hand(steps, expected):
    average, model = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
    for module, value in ((average, 0.0), (model, 4.0)):
        for tensor in (*module.parameters(), module.running_mean, module.running_var):
            tensor.data.fill_(value)
    model.num_batches_tracked.fill_(7)
    update_average(average, model, 0.5, steps)
    assert [tensor.item() for tensor in (average.weight, average.bias, average.running_mean, average.running_var)] == pytest.approx([expected] * 4)
    assert average.num_batches_tracked.item() == 7  # a counter is copied
    assert model.weight.item() == 4
