"""What every network takes and returns, and EHANet's switches and encoders."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ehanet.models import EHANet, build_loss, build_model, list_models
from ehanet.models.encoders import build_encoder, zero_init
from ehanet.models.registry import register

torch.manual_seed(0)


@pytest.fixture(scope="module")
def model():
    return EHANet().eval()


@pytest.mark.parametrize("height, width", [(32, 32), (33, 47), (64, 96), (97, 64), (255, 33)])
def test_outputs_have_the_size_of_the_input(model, height, width):
    with torch.no_grad():
        out = model(torch.rand(2, 3, height, width))
    assert out.logits.shape == (2, 1, height, width)
    assert [side.shape for side in out.sides] == [(2, 1, height, width)] * 4
    assert out.edge.shape == out.edge_logits.shape == (2, 2, height, width)
    assert torch.allclose(out.edge.sum(dim=1), torch.ones(2, height, width))


@pytest.mark.parametrize("images, error, message", [
    (torch.rand(3, 64, 64), ValueError, r"expected 4 dimensions \(B, 3, H, W\), got 3"),
    (torch.rand(1, 1, 64, 64), ValueError, r"expected 3 channels \(RGB\), got 1"),
    (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), TypeError, r"floating point values in \[0, 1\], got torch.uint8"),
    (torch.rand(1, 3, 31, 64), ValueError, "at least 32 x 32 pixels, got 31 x 64"),
    ([[1.0]], TypeError, "expected a torch.Tensor"),
    (torch.rand(1, 3, 64, 64).double(), TypeError, r"expected torch.float32 as the network's weights, got torch.float64; convert them with images.to\(torch.float32\)"),
    (torch.rand(1, 3, 64, 64).half(), TypeError, "expected torch.float32 .* got torch.float16"),
    (torch.rand(0, 3, 64, 64), ValueError, r"expected at least one image, got shape \(0, 3, 64, 64\)"),
])
def test_what_a_network_cannot_take(model, images, error, message):
    with pytest.raises(error, match=message) as raised:
        model(images)
    assert "\n" not in str(raised.value)


def test_autocast_takes_half_precision(model):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert model(torch.rand(1, 3, 32, 32).bfloat16()).logits.shape == (1, 1, 32, 32)


def test_values_are_not_looked_at_in_forward(model):
    with torch.no_grad():
        assert model(torch.full((1, 3, 32, 32), 7.0)).logits.shape == (1, 1, 32, 32)


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_one_switch_changes_one_thing():
    full = EHANet()
    parts = {name: count(module) for name, module in full.named_children()}
    without_efa = {name: count(module) for name, module in EHANet(efa=False).named_children()}
    assert without_efa == parts | {"efa": 0}
    plain = EHANet(ahfa=False)
    assert {n: count(m) for n, m in plain.named_children()} == parts | {"decoder": count(plain.decoder)}
    assert not any(isinstance(m, nn.Sigmoid) for m in plain.decoder.modules())
    bare = EHANet(iem=False)
    narrow_head = 2 * (32 * 32 + 32 + 64) + 32 + 1
    expected = parts | {"head": narrow_head}
    del expected["iem"]
    assert {n: count(m) for n, m in bare.named_children() if n != "iem"} == expected


@pytest.mark.parametrize("switches", [dict(efa=False), dict(iem=False), dict(ahfa=False), dict(efa=False, iem=False, ahfa=False)])
def test_switched_off_networks_train(switches):
    model = EHANet(**switches)
    out = model(torch.rand(2, 3, 64, 64))
    assert (out.edge is None) == (out.edge_logits is None) == (not switches.get("iem", True))
    (out.logits.sum() + sum(side.sum() for side in out.sides) + (0 if out.edge is None else out.edge[:, 1].sum())).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_efa_off_passes_features_through():
    model = EHANet(efa=False).eval()
    seen = {}
    model.efa[2].register_forward_hook(lambda module, inputs, output: seen.update(same=output is inputs[0]))
    model(torch.rand(1, 3, 32, 32))
    assert seen["same"]


def test_released_dropout_places():
    drops = [m.p for m in EHANet().modules() if isinstance(m, nn.Dropout) and m.p > 0]
    transformer_layers = 2 + 4 + 3
    assert drops == [0.1] * (2 * transformer_layers)


def test_transformers_begin_at_zero_and_wake_up():
    encoder, images = build_encoder("mobilevit_xxs"), torch.rand(2, 3, 64, 64)
    zero_init(encoder)
    blocks = [block for block in encoder.modules() if hasattr(block, "transformer")]

    def shaken():
        """How far the maps move when the transformers answer something else."""
        with torch.no_grad():
            before = encoder(images)[-1]
            hooks = [block.norm.register_forward_hook(lambda layer, inputs, output: output.roll(1, 1)) for block in blocks]
            after = encoder(images)[-1]
            [hook.remove() for hook in hooks]
        return (after - before).abs().max()

    assert len(blocks) == 3 and shaken() == 0
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    encoder(images)[-1].square().mean().backward()
    assert all(block.conv_proj.bn.weight.grad.abs().max() > 0 for block in blocks)
    optimizer.step()
    assert shaken() > 0


@pytest.mark.parametrize("build", [lambda folder: None, lambda folder: build_encoder("resnet18"), lambda folder: trained_mobilevit(folder)])
def test_what_cannot_begin_at_zero(build, tmp_path):
    with pytest.raises(ValueError, match="zero_init: only a MobileViT that starts from random weights can begin so; leave it out"):
        zero_init(build(tmp_path))


def trained_mobilevit(folder):
    save_file(build_encoder("mobilevit_xxs").net.state_dict(), folder / "a.safetensors")
    return build_encoder("mobilevit_xxs", weights=folder / "a.safetensors")


def test_batch_norm_follows_the_paper():
    norms = [m for name, m in EHANet().named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.momentum, m.eps) for m in norms} == {(0.1, 1e-5)}


def test_registry_errors_name_the_known_ones():
    assert list_models()[0] == "ehanet"
    with pytest.raises(ValueError, match="unknown model 'ehnet'; known: ehanet"):
        build_model("ehnet")
    with pytest.raises(ValueError, match="no option 'ifm'; its options: encoder, encoder_weights, efa, iem, ahfa"):
        build_model("ehanet", ifm=False)
    with pytest.raises(ValueError, match="already registered"):
        register("ehanet")(lambda pretrained=False: nn.Identity())


@pytest.mark.parametrize("options, message", [
    ({"efa": "flase"}, "option efa: expected true or false, got 'flase'"), ({"iem": 0}, "option iem: expected true or false, got 0"),
    ({"ahfa": None}, "option ahfa: expected true or false, got None"), ({"variant": 3}, "option variant: expected text, got 3"),
    ({"encoder_weights": True}, r"option encoder_weights: expected text or a path or nothing \(null\), got True"), ({"pretrained": "no"}, "option pretrained: expected true or false, got 'no'"),
])
def test_an_option_of_another_type_builds_no_other_network(options, message):
    with pytest.raises(ValueError, match=f"^model 'ehanet': {message}$"):
        build_model("ehanet", **options)


def test_options_of_a_loss_are_checked_too():
    for options, message in (({"per_image": "yes"}, "per_image: expected true or false, got 'yes'"), ({"smooth": "1e-2"}, r"smooth: expected a number or nothing \(null\), got '1e-2'")):
        with pytest.raises(ValueError, match=f"^the loss of 'ehanet': option {message}$"):
            build_loss("ehanet", **options)
    assert build_loss("ehanet", smooth=None, per_image=True).per_image and build_loss("ehanet", smooth=0.01).smooth == 0.01


def test_options_of_a_users_own_go_by_annotation_or_default_and_unknown_ones_are_passed_on(monkeypatch):
    monkeypatch.setattr("ehanet.models.registry._METHODS", {})

    @register("own")
    def own(width=4, rate: float = 0.5, depth: int | None = None, norm=None, kernels: tuple = (1, 3), late: "NotImported" = 1):  # noqa: F821
        return nn.Conv2d(3, width, 1)

    @register("plain")
    def plain(width=4, depth: int | None = None, kernels: tuple = (1, 3)):
        return nn.Conv2d(3, width, 1)

    build_model("own", rate=1, depth=3, norm=[1], kernels=[1], late="x")
    build_model("plain", depth=torch.tensor([5]).numpy()[0], kernels=3)
    for options, message in (({"width": 4.5}, "width: expected a whole number, got 4.5"), ({"width": True}, "width: expected a whole number, got True"),
                             ({"depth": "3"}, r"depth: expected a whole number or nothing \(null\), got '3'")):
        with pytest.raises(ValueError, match=f"^model 'plain': option {message}$"):
            build_model("plain", **options)


def test_one_image_in_training_mode_is_one_line_where_batch_norm_cannot_learn():
    network, one = EHANet("mobilenetv1_100.keras"), torch.rand(1, 3, 64, 64)
    with pytest.raises(ValueError, match=r"^one image in training mode: batch norm cannot learn from it; call .eval\(\) to predict, or give at least two$"):
        network(one)
    assert network(torch.rand(2, 3, 64, 64)).logits.shape == (2, 1, 64, 64)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()  # frozen norms learn nothing, and take one image
    assert network.training and network(one).logits.shape == (1, 1, 64, 64)
    assert EHANet("mobilenetv1_100.keras", ahfa=False)(one).logits.shape == (1, 1, 64, 64)


def test_save_and_load_give_the_same_output(model, tmp_path):
    path = Path(tmp_path / "model.pt")
    torch.save(model.state_dict(), path)
    again = build_model("ehanet").eval()
    again.load_state_dict(torch.load(path, weights_only=True))
    image = torch.rand(1, 3, 40, 40)
    with torch.no_grad():
        assert torch.equal(again(image).logits, model(image).logits)
