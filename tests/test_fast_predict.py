"""predict's faster copies of a network: which images they see, and that their masks are those of the network as it is written."""

import numpy as np
import pytest
import torch
from torch import nn

from ehanet import build_model, predict
from ehanet.devices import compute_dtype, forward_pass, narrow_weights
from ehanet.inference import fast_network
from ehanet.interact.switches import switched_off
from ehanet.models.folding import folded
from ehanet.models.output import SegmentationOutput

RGB = np.random.default_rng(0).random((40, 50, 3), dtype=np.float32)


@torch.no_grad()
def test_bfloat16_predicts_nearly_the_same():
    """Four images as the network is written, the others folded, with weights in bfloat16; the network given stays as it was."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 1, 1)).eval()
    network = Wrapped(model)
    images = [RGB] * 6
    exact, narrow = predict(network, images, batch_size=1), predict(network, images, batch_size=1, precision="bfloat16")
    assert narrow.dtype == np.float32
    assert 0 < np.abs(narrow - exact).max() < 0.01
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert np.array_equal(predict(network, images, batch_size=1, precision="auto"), exact if compute_dtype("auto", torch.device("cpu")) == torch.float32 else narrow)


class Wrapped(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return SegmentationOutput(self.model(images), [])


@torch.no_grad()
def test_weights_kept_in_bfloat16_give_what_autocast_gives():
    torch.manual_seed(0)
    network = folded(build_model("ehanet").eval(), torch.rand(1, 3, 64, 64))
    images = torch.rand(2, 3, 64, 64)
    expected = forward_pass(network, images, torch.bfloat16)
    narrow_weights(network, torch.bfloat16)
    found = forward_pass(network, images, torch.bfloat16)
    assert torch.equal(found.logits, expected.logits) and torch.equal(found.edge, expected.edge)
    assert {layer.weight.dtype for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))} == {torch.bfloat16}


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"iem": False}, {"ahfa": False}, {"efa": False}, {"variant": "figure"}], ids=str)
def test_a_network_for_masks_alone_has_the_same_mask_and_computes_nothing_else(options):
    torch.manual_seed(0)
    network, images = build_model("ehanet", **options).eval(), torch.rand(2, 3, 64, 96)
    copy = folded(network, images[:1], mask_only=True)
    whole, found, called = folded(network, images[:1])(images), copy(images), set()
    assert torch.equal(found.logits, whole.logits) and len(whole.sides) == 4 and found.sides == [] and found.edge is found.edge_logits is None
    for name, layer in copy.named_modules():
        layer.register_forward_hook(lambda layer, inputs, output, name=name: called.add(name))
    copy(images)
    assert "head.0" in called and not [name for name in called if "edge" in name or ".side" in name or ".gate" in name or ".project" in name]
    assert len(network(images).sides) == 4, "the network given stays whole"


passes = []


def note_pass(layer, inputs, output):  # of this file, so that a copy of the network has it too
    passes.append(len(inputs[0]))


@pytest.mark.parametrize("count, flips, as_written", [(4, False, True), (5, False, False), (1, True, True), (2, True, False)])
def test_a_copy_for_masks_alone_predicts_from_the_fifth_pass_on(monkeypatch, count, flips, as_written):
    kept = []
    monkeypatch.setattr("ehanet.inference.keep_memory", lambda: kept.append(True))
    torch.manual_seed(0)
    network = build_model("ehanet").eval()
    network.decoder[0].side.register_forward_hook(note_pass)
    passes.clear()
    predict(network, [RGB] * count, flips=flips)
    batches = [count] * (4 if flips else 1)
    assert passes == (batches if as_written else [1])  # one: what folding compares with
    assert kept == [] if as_written else [True]


@torch.no_grad()
def test_a_module_that_is_switched_off_stays_so_in_the_copy():
    """Its hook takes both outputs, so the copy has to compute them."""
    torch.manual_seed(0)
    network = build_model("ehanet")
    for _ in range(20):
        network(torch.rand(4, 3, 64, 64))  # batch norms learn what comes; before, maps fade on their way
    for name in ("AHFA", "IEM"):
        with switched_off(network, [name]):
            one_by_one = np.concatenate([predict(network, RGB) for _ in range(2)])
            assert np.allclose(predict(network, [RGB] * 5)[:2], one_by_one, atol=1e-5)
        assert np.abs(predict(network, RGB) - one_by_one[:1]).max() > 0.001, "switching off changes nothing here"


@torch.no_grad()
def test_the_patches_of_one_image_lie_densely_in_the_copy():
    """timm's MobileViT takes them as a view of the map; each addition to them then takes ten times as long. The result is the same to the last bit."""
    torch.manual_seed(0)
    network, image, dense = build_model("ehanet").eval(), torch.rand(1, 3, 64, 64), []
    copy = fast_network(network, image, torch.float32)
    for each in (network, copy):
        each.encoder.net.stages[2][1].transformer[0].register_forward_pre_hook(lambda block, inputs: dense.append(inputs[0].is_contiguous()))
        each(image)
    assert dense == [False, True]
