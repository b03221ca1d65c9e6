"""The walkthroughs' pictures are pure functions, and their widgets follow every control."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from interactive import change, model, shown  # noqa: F401 (fixtures)
from PIL import Image

from ehanet import EHANet
from ehanet.data import load_dataset
from ehanet.explain import output_maps
from ehanet.interact import features, losses, masks, panels, predictions, switches, traps, uploads
from ehanet.models.ehanet import AHFA


@pytest.fixture(scope="module")
def truth():
    rows, columns = np.mgrid[:64, :64]
    return np.hypot(rows - 30, columns - 28) < 12


@pytest.mark.parametrize("make, moves", [
    (lambda shown, model: panels.explore(shown, {"EHANet": model, "same": model}), {"image": 1, "output": "s2", "threshold": 0.3, "blend": 1.0}),
    (lambda shown, model: panels.corrupt_and_predict(shown, model), {"image": 2, "corruption": "jpeg", "severity": 5}),
    (lambda shown, model: panels.switch_modules(shown, model), {"EFA": False, "IEM": False, "AHFA": False, "image": 1}),
    (lambda shown, model: panels.look_inside(shown, model, ["efa.0", "decoder.3"]), {"layer": "decoder.3", "output": "s4", "image": 1}),
    (lambda shown, model: panels.weigh_losses(), {"radius": 5, "shift": 0, "softness": 4.0}),
    (lambda shown, model: panels.drag_mask(shown[0]), {"dx": 7, "dy": -3, "dilation": 2}),
    (lambda shown, model: uploads.upload(model, shown[0]), {"threshold": 0.3}),
], ids=["explore", "corrupt", "switches", "grad-cam", "losses", "drag", "upload"])
def test_every_control_changes_the_picture(make, moves, shown, model):
    panel = make(shown, model)
    assert set(moves) | {"method", "file"} >= set(panel.controls)
    for name, value in moves.items():
        before, after = change(panel, name, value)
        assert Image.open(io.BytesIO(after)).format == "PNG"
        assert before != after, f"{name} does nothing"


def test_method_switches_the_network(shown, model):
    torch.manual_seed(1)
    other = EHANet().eval()
    panel = panels.explore(shown, {"first": model, "second": other})
    before, after = change(panel, "method", "second")
    assert before != after
    assert change(panel, "method", "first")[1] == before


def test_a_panel_is_a_picture_where_no_kernel_runs(shown, model):
    panel = panels.drag_mask(shown[0])
    bundle = panel._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]) == panel.picture.value
    assert bundle["text/plain"] == "Panel(dx, dy, dilation)"
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_what_cannot_be_drawn_is_one_line_and_the_picture_stays(shown, model):
    panel = panels.look_inside(shown, model, ["efa.0", "decoder.3"])
    panel.controls["layer"].value = "decoder.3"
    before = panel.picture.value
    panel.controls["output"].value = "s1"
    assert "does not depend on layer" in panel.message.value and "\n" not in panel.message.value
    assert panel.picture.value == before


def test_modules_are_switched_off_and_on_again(shown, model):
    image = shown[0].image
    whole = output_maps(model, image)
    seen = {}
    for name in switches.MODULES:
        with switches.switched_off(model, [name]):
            seen[name] = output_maps(model, image)
        assert not np.array_equal(seen[name]["final"], whole["final"]), name
    assert np.allclose(seen["IEM"]["edge"], 0.5)
    for name, values in output_maps(model, image).items():
        assert np.array_equal(values, whole[name]), f"{name} is not what it was"
    with pytest.raises(ValueError, match="unknown module 'SE'; known: EFA, IEM, AHFA"), switches.switched_off(model, ["SE"]):
        pass


def test_the_table_of_switches(shown, model):
    table = switches.switch_table(shown, model)
    assert list(table.index) == ["none", "EFA", "IEM", "AHFA", "all three"]
    whole = [output_maps(model, example.image)["final"] > 0.5 for example in shown]
    dice = [2 * (mask & (example.mask > 0)).sum() / (mask.sum() + example.mask.sum()) for mask, example in zip(whole, shown)]
    assert table.loc["none"].tolist() == [round(float(np.mean(dice)), 2), round(100 * float(np.mean(whole)), 1)]
    with switches.switched_off(model, ["EFA"]):
        without = [output_maps(model, example.image)["final"] > 0.5 for example in shown]
    assert table.loc["EFA", "found (% of the image)"] == round(100 * float(np.mean(without)), 1)
    photographs = [example._replace(mask=None) for example in shown]
    assert list(switches.switch_table(photographs, model).columns) == ["found (% of the image)"]


def test_an_edge_map_is_not_scored_against_the_filled_mask(shown, model):
    notes = {output: [text.get_text() for axes in panels.explore(shown, {"a": model}).draw(0, "a", output, 0.5, 0.7).axes for text in axes.texts] for output in ("final", "edge")}
    assert any(note.startswith("Dice ") for note in notes["final"]) and not any("Dice" in note for note in notes["edge"])
    assert any(note.endswith("% of the image") for note in notes["edge"])


def test_efa_off_is_the_identity_and_ahfa_off_knows_no_skip(model):
    x = torch.rand(1, 32, 8, 8)
    with torch.no_grad(), switches.switched_off(model, ["EFA", "AHFA"]):
        assert torch.equal(model.efa[0](x), x)
        block = next(module for module in model.modules() if isinstance(module, AHFA))
        deep = torch.rand(1, 160, 2, 2)
        one, other = (block(torch.full((1, 128, 4, 4), value), deep) for value in (0.0, 5.0))
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_blended_says_found_missed_and_spurious():
    image = np.full((1, 4, 3), 100, np.uint8)
    prediction, label = np.array([[1, 0, 1, 0]]), np.array([[1, 1, 0, 0]])
    result = predictions.blended(image, prediction, label, blend=1.0)[0]
    assert [tuple(pixel) for pixel in result] == [(255, 225, 77), (0, 104, 168), (200, 80, 10), (100, 100, 100)]
    assert np.array_equal(predictions.blended(image, prediction, label, blend=0.0), image)
    half = predictions.blended(image, prediction, None, blend=0.5)[0]
    assert tuple(half[0]) == (178, 162, 88) and tuple(half[1]) == (100, 100, 100)
    red = np.full((1, 4, 3), (202, 50, 48), np.uint8)
    half = predictions.blended(red, prediction, None, blend=0.5)[0]
    assert tuple(half[0]) == (203, 150, 76) and tuple(half[1]) == (202, 50, 48), "half way to grey below the colour, as it is elsewhere"


def test_moved_mask_by_hand():
    mask = np.zeros((5, 6), bool)
    mask[1:3, 1:3] = True
    moved = masks.move_mask(mask, dx=2, dy=-1)
    assert np.array_equal(np.argwhere(moved), [[0, 3], [0, 4], [1, 3], [1, 4]])
    assert not masks.move_mask(mask, dx=-6).any() and not masks.move_mask(mask, dy=99).any()
    assert masks.move_mask(mask, dilation=1).sum() == 12 and masks.move_mask(mask, dilation=-1).sum() == 0
    assert np.array_equal(masks.move_mask(mask), mask)


def test_same_dice_other_distances(truth):
    table = masks.score_table(masks.same_dice(truth, 0.85), truth)
    assert (abs(table["Dice"] - 0.85) <= 0.05).all()
    assert table["HD95 (px)"].max() > 3 * table["HD95 (px)"].min()
    assert masks.score_table({"itself": truth}, truth).loc["itself"].tolist() == [1, 1, 1, 0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match="object"):
        masks.same_dice(np.zeros((8, 8)))


def test_the_same_shift_costs_a_small_object_more(truth):
    table = masks.shift_table(truth, dx=2, shrink=6)
    assert list(table.index) == ["as it is", "shrunk by 6 px"] and table["pixels"].tolist() == [truth.sum(), masks.move_mask(truth, dilation=-6).sum()]
    assert table["Dice"].is_monotonic_decreasing and table["Dice"].is_unique and (table["HD95 (px)"] == 2).all()


def test_losses_of_a_missed_object():
    for share in (0.2, 0.01):
        missed, curves = losses.missed_share(share)
        for name, values in curves.items():
            assert (np.diff(values) >= -1e-6).all() and values[-1] > values[0], name
    assert curves["BCE"][-1] < 0.1 < 0.9 < curves["Dice"][-1]


def test_of_constant_maps_each_loss_likes_another_best():
    for share in (0.2, 0.03):
        probabilities, curves = losses.constant_map(share)
        best = {name: probabilities[np.argmin(values)] for name, values in curves.items()}
        assert best["BCE"] == pytest.approx(share, abs=0.01) and best["Dice"] == probabilities[-1] and best["Lovász"] == 0.5
        assert curves["Lovász"].min() == pytest.approx(0.5, abs=1e-6)  # (1 - p + p) / 2: one half for each class


def test_pulls_point_at_the_truth():
    mask = (losses.disc(10) > 0).float()
    for name, pull in losses.pulls(losses.disc(10, 8.0, 2.0), mask).items():
        inside = mask[0, 0].numpy().astype(bool)
        assert (pull[inside] >= 0).all() and (pull[~inside] <= 0).all(), name
        assert np.abs(pull).max() > 0


def test_trap_of_the_split():
    leak = traps.split_leak(load_dataset("phantom-glioma", size=64))
    assert (leak.loc["by patient"] == 0).all() and 0 < leak.loc["by slice", "in training and test"] < leak.loc["by slice", "patients in several parts"] < 40


def test_released_edge_stays_behind(shown):
    seeds = [traps.augmented_edges(shown[0], "released", seed) for seed in range(6)]
    assert len({edges["released"].tobytes() for edges in seeds}) == 1
    assert len({edges["corrected"].tobytes() for edges in seeds}) > 1
    assert traps.edges_picture(shown[0], seeds[0]).png().startswith(b"\x89PNG")


@pytest.mark.parametrize("draw", [
    lambda model, example: features.efa_picture(model, example, 5), lambda model, example: features.iem_picture(model, example),
    lambda model, example: features.ahfa_picture(model, example, 2), lambda model, example: predictions.outputs_picture(example, output_maps(model, example.image)),
    lambda model, example: losses.missed_share_picture(), lambda model, example: losses.constant_map_picture(),
    lambda model, example: masks.masks_picture(masks.same_dice(example.mask), example.mask, example.image),
], ids=["efa", "iem", "ahfa", "outputs", "missed", "constant", "mistakes"])
def test_pictures_are_reproducible(draw, model, shown):
    first = draw(model, shown[0])
    assert first.png() == draw(model, shown[0]).png()
    assert re.fullmatch(r"Picture\(\d+ x \d+ pixels, \d+ axes\)", repr(first))


def test_shapes_are_those_of_the_paper():
    table = features.module_shapes(EHANet(), size=256).set_index(["module", "in"])
    assert table.loc[("AHFA", "32 x 128 x 128, 64 x 64 x 64"), "out"] == "32 x 128 x 128, 1 x 128 x 128"
    assert table.loc[("IEM", "32 x 128 x 128, 64 x 64 x 64"), "out"] == "2 x 256 x 256, 32 x 256 x 256"


def test_a_module_that_is_not_there_is_named(shown):
    plain = EHANet(encoder="resnet18", iem=False).eval()
    with pytest.raises(ValueError, match="^this network has no IEM$"):
        features.iem_picture(plain, shown[0])
    for stage in (0, 6):
        with pytest.raises(ValueError, match=f"^this network has no EFA number {stage}; it has 1, 2, 3, 4, 5$"):
            features.efa_picture(plain, shown[0], stage)
    with pytest.raises(ValueError, match="^this network has no AHFA number 5; it has 1, 2, 3, 4$"):
        features.ahfa_picture(plain, shown[0], 5)
    assert panels.switch_modules(shown, plain).draw(image=0, EFA=True, IEM=True, AHFA=True).png(), "without an edge map"


def test_colours_that_a_picture_does_not_use_are_not_explained(shown):
    masked, alone = shown[0], shown[0]._replace(mask=None)
    assert [len(predictions.legend_of([example])) for example in (masked, alone)] == [3, 1]
