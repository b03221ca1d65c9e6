"""The switches of the ablation: each removes what it says and nothing else, by parameter counts, hooks and gradients."""

from itertools import product

import pytest
import torch
from torch import nn

from ehanet.losses import EHANetLoss
from ehanet.models import EHANet, build_loss, build_model
from ehanet.models.ehanet import AHFA, EFA, IEM, VARIANTS, FigureAHFA, FigureEFA, PlainAggregation

WIDTHS = [32, 64, 96, 128, 160]
SWITCHES = [dict(zip(("efa", "iem", "ahfa"), values)) for values in product((True, False), repeat=3)]


def count(module: nn.Module | None) -> int:
    return 0 if module is None else sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def full():
    torch.manual_seed(0)
    return EHANet()


@pytest.mark.parametrize("switches", SWITCHES, ids=lambda s: "".join(name for name, on in s.items() if on) or "none")
def test_eight_combinations_hold_exactly_their_modules(full, switches):
    model = EHANet(**switches)
    kinds = [type(module) for module in model.modules()]
    assert kinds.count(EFA) == 5 * switches["efa"] and kinds.count(IEM) == switches["iem"]
    assert (kinds.count(AHFA), kinds.count(PlainAggregation)) == ((4, 0) if switches["ahfa"] else (0, 4))
    # by hand: EFA 3 + 1 for the kernel over channels and C for the pixel gate; the parts' costs add up in every combination
    efa = sum(4 + width for width in WIDTHS)
    iem = count(full.iem) + count(full.head) - (2 * (32 * 32 + 32 + 64) + 32 + 1)
    ahfa = count(full.decoder) - count(EHANet(ahfa=False).decoder)
    removed = (not switches["efa"]) * efa + (not switches["iem"]) * iem + (not switches["ahfa"]) * ahfa
    assert count(model) == count(full) - removed


def executed(model: nn.Module) -> set[type]:
    """The kinds of modules of the network's own parts that a forward pass goes through."""
    seen = set()
    hooks = [module.register_forward_hook(lambda module, *_: seen.add(type(module))) for module in model.modules()]
    with torch.no_grad():
        model.eval()(torch.rand(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return seen & {EFA, IEM, AHFA, PlainAggregation, FigureEFA, FigureAHFA}


@pytest.mark.parametrize("options, kinds", [
    ({}, {EFA, IEM, AHFA}), ({"efa": False}, {IEM, AHFA}), ({"iem": False}, {EFA, AHFA}), ({"ahfa": False}, {EFA, IEM, PlainAggregation}),
    ({"efa": False, "iem": False, "ahfa": False}, {PlainAggregation}), ({"variant": "figure"}, {FigureEFA, IEM, FigureAHFA}),
])
def test_hooks_see_only_what_is_switched_on(options, kinds):
    assert executed(EHANet(**options)) == kinds


def test_each_variant_changes_one_module(full):
    """Counts by hand; where the edge module reads its input is seen by a hook."""
    for variant, drawn in VARIANTS.items():
        model = EHANet(variant=variant).eval()
        by_part = {name: count(module) for name, module in model.named_children()}
        efa = sum(width * width + width + 9 * width for width in WIDTHS) if "efa" in drawn else sum(4 + width for width in WIDTHS)
        assert by_part == {name: count(module) for name, module in full.named_children()} | {"efa": efa}
        seen = {}
        model.efa[0].register_forward_hook(lambda module, inputs, output: seen.update(raw=inputs[0], attended=output))
        model.iem.register_forward_pre_hook(lambda module, inputs: seen.update(edge_input=inputs[0]))
        with torch.no_grad():
            model(torch.rand(1, 3, 32, 32))
        assert seen["edge_input"] is seen["raw" if "iem" in drawn else "attended"]
        gates = [type(layer) for layer in model.decoder[0].gate]
        assert gates.index(nn.AdaptiveAvgPool2d) == (1 if "ahfa" in drawn else 0)


def test_the_gate_of_the_figure_averages_after_its_first_convolution():
    torch.manual_seed(1)
    block = FigureAHFA(8, 12).eval()
    x = torch.randn(2, 8, 6, 6)
    convolved = block.gate[0](x).mean(dim=(2, 3), keepdim=True)
    expected = block.gate[3](block.gate[2](convolved)).sigmoid()
    assert torch.allclose(block.gate(x), expected, atol=1e-6)


def test_released_variant_is_the_default(full):
    torch.manual_seed(0)
    named = build_model("ehanet", variant="released")
    assert all(torch.equal(a, b) for a, b in zip(named.state_dict().values(), full.state_dict().values(), strict=True))
    with pytest.raises(ValueError, match="variant: 'paper' is none of released, figure"):
        EHANet(variant="paper")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains_in_all_its_parts(variant):
    model = EHANet(variant=variant)
    out = model(torch.rand(2, 3, 32, 32))
    EHANetLoss()(out, torch.ones(2, 1, 32, 32), torch.ones(2, 1, 32, 32)).total.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_without_deep_supervision_the_side_heads_learn_nothing():
    model = EHANet()
    mask = (torch.rand(2, 1, 32, 32) > 0.5).float()
    loss = build_loss("ehanet", deep_supervision=False)(model(torch.rand(2, 3, 32, 32)), mask, mask)
    assert len(loss.regions) == 1
    loss.total.backward()
    idle = {name.split(".")[2] for name, parameter in model.named_parameters() if parameter.grad is None}
    assert idle == {"project", "gate", "side"}
    assert all(name.startswith("decoder") for name, parameter in model.named_parameters() if parameter.grad is None)


def test_options_of_a_loss_are_checked():
    with pytest.raises(ValueError, match="edge_loss: 'focal' is none of lovasz, bce, dice"):
        build_loss("ehanet", edge_loss="focal")
    with pytest.raises(ValueError, match="the loss of 'ehanet' has no option 'edge'; its options: edge_loss, deep_supervision"):
        build_loss("ehanet", edge="bce")
    with pytest.raises(ValueError, match="the loss of 'unet' has no option 'edge_loss'; its options: none"):
        build_loss("unet", edge_loss="bce")
