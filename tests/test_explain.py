"""Grad-CAM against the library and by hand, gates against what they gate, and that looking changes nothing."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import ehanet
from ehanet.explain import ahfa_gates, efa_gates, grad_cam, layer_names, layer_shapes, output_maps
from ehanet.inference import predict
from ehanet.models import EHANet, SegmentationOutput, build_model, list_models

IMAGE = (np.random.default_rng(0).random((64, 64, 3)) * 255).astype(np.uint8)
EVERY_OUTPUT = ["s1", "s2", "s3", "s4", "final", "edge"]


@pytest.fixture(scope="module")
def model():
    """EHANet whose batch norms have seen images, so that activations are of a trained network's size."""
    torch.manual_seed(0)
    model = EHANet(encoder="resnet18")
    with torch.no_grad():
        for _ in range(8):
            model(torch.rand(4, 3, 64, 64))
    return model.eval()


class Toy(nn.Module):
    """Two channels at stride 2; logit = 3 x first - 2 x second, then an in-place ReLU of the map that no output uses."""

    def __init__(self):
        super().__init__()
        self.maps, self.relu = nn.AvgPool2d(2), nn.ReLU(inplace=True)
        self.read = nn.Conv2d(3, 1, 1, bias=False)
        self.read.weight.data = torch.tensor([3.0, -2.0, 0.0]).view(1, 3, 1, 1)

    def forward(self, images):
        maps = self.maps(images)
        return SegmentationOutput(nn.functional.interpolate(self.read(maps), images.shape[2:]), [])


def test_by_hand():
    image = np.zeros((32, 64, 3), dtype=np.float32)
    image[8:16, 16:24, 0] = 1.0   # speaks for the object: 3 x 1
    image[8:16, 40:48, 0] = 0.25  # a quarter as strongly
    image[16:24, 16:24, 1] = 1.0  # speaks against it: cut off by the ReLU
    cam = grad_cam(Toy(), image, "maps")
    assert cam.shape == (32, 64) and cam.dtype == np.float32
    assert cam[12, 20] == 1 and cam[12, 44] == pytest.approx(0.25, abs=1e-6)
    assert cam[20, 20] == 0 and cam[28, 60] == 0


def test_no_evidence_is_zero_and_not_nan():
    image = np.zeros((32, 32, 3), dtype=np.float32)
    image[..., 1] = 1.0
    assert not grad_cam(Toy(), image, "maps").any()


def test_a_map_lies_over_its_image_at_any_size():
    image = np.zeros((45, 70, 3), dtype=np.float32)
    image[40:45, 64:70, 0] = 1.0
    cam = grad_cam(Toy(), image, "maps")
    assert cam.shape == (45, 70) and cam[43:, 67:].min() > 0.9 and cam[:36, :60].max() == 0


def library_cam(model, layer, output):
    """pytorch-grad-cam's map for one output of our networks, its least value taken as zero."""
    from pytorch_grad_cam import GradCAM

    from ehanet.explain import _logits

    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, images):
            return _logits(self.model(images))[output]

    def target(logit):
        where = logit.detach() > 0
        return logit[where].sum() if where.any() else logit.sum()

    wrapped = Plain()
    images = torch.from_numpy(IMAGE).permute(2, 0, 1)[None].float() / 255
    with GradCAM(wrapped, [model.get_submodule(layer)]) as cam:
        return cam(images, targets=[target])[0]


@pytest.mark.slow  # the library takes half a minute to import
def test_the_library_agrees(model):
    oracle = copy.deepcopy(model)
    for module in oracle.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # the library reads the map after an in-place ReLU has overwritten it
    unused = {"iem.path1": "s1 s2 s3 s4", "head.1": "s1 s2 s3 s4 edge", "decoder.2.reduce.1": "s1 s2 edge", "decoder.0.long": "edge",
              "encoder.net.layer4.1.bn1": "edge", "efa.1": "s1 s2", "encoder.net.layer1": ""}
    compared = 0
    for layer in unused:
        for output in set(EVERY_OUTPUT) - set(unused[layer].split()):
            ours, theirs = grad_cam(model, IMAGE, layer, output), library_cam(oracle, layer, output)
            assert np.abs((ours - ours.min()) / (np.ptp(ours) + 1e-12) - theirs).max() < 1e-3, (layer, output)
            compared += ours.max() > 0
    assert compared > 10


def state_of(model):
    return ({name: module.training for name, module in model.named_modules()}, {name: len(m._forward_hooks) for name, m in model.named_modules()},
            {name: value.clone() for name, value in model.state_dict().items()}, {name: p.grad for name, p in model.named_parameters()})


def test_looking_changes_nothing():
    model = EHANet(encoder="resnet18").train()
    model.encoder.eval()  # as with a frozen encoder
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(False)
    out = model(torch.rand(2, 3, 64, 64))
    (out.logits.mean() + out.edge.mean()).backward()
    before = state_of(model)
    grads = {name: None if grad is None else grad.clone() for name, grad in before[3].items()}
    looks = [lambda: grad_cam(model, IMAGE, "decoder.1"), lambda: output_maps(model, IMAGE), lambda: efa_gates(model, IMAGE),
             lambda: ahfa_gates(model, IMAGE), lambda: layer_names(model), lambda: grad_cam(model, IMAGE, "nothing"),
             lambda: grad_cam(model, IMAGE, "head", "s1"), lambda: grad_cam(model, IMAGE, "head", "s9"), lambda: grad_cam(model, np.zeros((64, 64, 3)) + 2, "head")]
    for look in looks:
        try:
            look()
        except ValueError:
            pass
        modes, hooks, state, now = state_of(model)
        assert modes == before[0] and set(hooks.values()) == {0}
        assert all(torch.equal(state[name], before[2][name]) for name in state)
        assert all(now[name] is before[3][name] and (grads[name] is None or torch.equal(now[name], grads[name])) for name in now)


def test_gradients_need_not_be_asked_for(model):
    expected = grad_cam(model, IMAGE, "decoder.2")
    frozen = copy.deepcopy(model).requires_grad_(False)
    with torch.no_grad():
        assert np.array_equal(grad_cam(frozen, IMAGE, "decoder.2"), expected)
    with torch.inference_mode():
        assert np.array_equal(grad_cam(model, IMAGE, "decoder.2"), expected)


@pytest.mark.parametrize("name", list_models())
def test_every_registered_network(name):
    model = build_model(name)
    shapes = layer_shapes(model)
    coarsest = max(shapes, key=lambda layer: (shapes[layer][1], list(shapes).index(layer)))
    assert shapes[coarsest][1] in (8, 16, 32)
    for layer in (coarsest, [layer for layer in shapes if "edge" not in layer][-1]):
        cam = grad_cam(model, IMAGE, layer)
        assert cam.shape == (64, 64) and np.isfinite(cam).all() and cam.max() in (0, 1) and cam.min() >= 0


def test_maps_of_swin_have_their_channels_last():
    model = build_model("hiformer-b")
    assert layer_shapes(model)["encoder.swin.0.blocks"] == (96, 4)
    assert grad_cam(model, IMAGE, "encoder.swin.0.blocks").shape == (64, 64)


def test_output_maps_are_what_the_network_puts_out(model):
    maps = output_maps(model, IMAGE)
    assert list(maps) == EVERY_OUTPUT
    assert np.allclose(maps["final"], predict(model, IMAGE)[0], atol=1e-6)
    with torch.no_grad():
        out = model(torch.from_numpy(IMAGE).permute(2, 0, 1)[None].float() / 255)
    assert np.allclose(maps["edge"], out.edge[0, 1].numpy(), atol=1e-6)
    assert all(np.allclose(maps[f"s{k + 1}"], side.sigmoid()[0, 0].numpy(), atol=1e-6) for k, side in enumerate(out.sides))
    assert all(value.dtype == np.float32 for value in maps.values())


def test_an_image_of_another_size_comes_back_at_its_own(model):
    trained = copy.deepcopy(model)
    trained.input_size = 64
    image = np.random.default_rng(1).random((100, 80, 3)).astype(np.float32)
    assert np.allclose(output_maps(trained, image)["final"], predict(trained, image)[0], atol=1e-6)
    bytes_ = (image * 255).astype(np.uint8)  # squashed by Pillow, as those of a data set
    assert np.allclose(output_maps(trained, bytes_)["final"], predict(trained, bytes_)[0], atol=1e-6)
    cam = grad_cam(trained, image, "efa.1")
    assert cam.shape == (100, 80) and cam.max() == 1
    assert [spatial.shape for _, spatial in efa_gates(trained, image)] == [(32, 32), (16, 16), (8, 8), (4, 4), (2, 2)]


def test_gates_are_those_that_gate(model):
    seen = {}
    handles = [efa.register_forward_hook(lambda m, inputs, out: seen.setdefault("efa", []).append((inputs[0], out))) for efa in model.efa]
    handles += [side.register_forward_hook(lambda m, inputs, out: seen.setdefault("sides", []).append(inputs[0])) for side in (a.side for a in model.decoder)]
    handles += [project.register_forward_hook(lambda m, inputs, out: seen.setdefault("projected", []).append(out)) for project in (a.project for a in model.decoder)]
    gates, aggregated = efa_gates(model, IMAGE), ahfa_gates(model, IMAGE)
    for handle in handles:
        handle.remove()
    assert [(len(c), s.shape) for c, s in gates] == [(32, (32, 32)), (64, (16, 16)), (96, (8, 8)), (128, (4, 4)), (160, (2, 2))]
    for (channel, spatial), (x, out) in zip(gates, seen["efa"]):
        assert np.allclose(x[0].numpy() * (channel[:, None, None] + spatial[None]), out[0].detach().numpy(), atol=1e-5)
    assert [len(gate) for gate in aggregated] == [128, 96, 64, 32]
    for gate, before, after in zip(aggregated, seen["projected"], seen["sides"]):
        assert np.allclose(before[0].detach().numpy() * gate[:, None, None], after[0].detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("switches, efa, ahfa, edge", [(dict(efa=False), 0, 4, True), (dict(iem=False), 5, 4, False), (dict(ahfa=False), 5, 0, True)])
def test_networks_with_a_part_switched_off(switches, efa, ahfa, edge):
    model = EHANet(encoder="resnet18", **switches)
    assert len(efa_gates(model, IMAGE)) == efa and len(ahfa_gates(model, IMAGE)) == ahfa
    assert list(output_maps(model, IMAGE)) == EVERY_OUTPUT[:6 if edge else 5]
    assert grad_cam(model, IMAGE, "decoder.3", "s4").shape == (64, 64)


@pytest.mark.parametrize("layer, output, message", [
    ("decoder.9", "final", r"layer 'decoder.9' is none of this network's \d+ layers with a map .* among them: decoder.3"),
    ("encoder", "final", "layer 'encoder' is none"),
    ("decoder.0.gate", "final", "layer 'decoder.0.gate' is none"),
    ("", "final", "layer '' is none"),
    ("decoder.3", "s5", "unknown output 's5'; this network has: s1, s2, s3, s4, final, edge"),
    ("decoder.3", "s2", "output 's2' does not depend on layer 'decoder.3'"),
    ("iem", "final", "output 'final' does not depend on the first of the maps that layer 'iem' puts out: take a layer inside it"),
])
def test_errors_name_the_known_ones(model, layer, output, message):
    with pytest.raises(ValueError, match=message) as raised:
        grad_cam(model, IMAGE, layer, output)
    assert "\n" not in str(raised.value)


def test_a_network_in_half_precision_is_looked_into():
    torch.manual_seed(0)  # of other draws one may differ by more: how much the network amplifies is its weights' affair
    model = EHANet(encoder="resnet18")
    ours = output_maps(model, IMAGE)["final"]
    half = output_maps(model.bfloat16(), IMAGE)["final"]
    assert half.dtype == np.float32 and np.abs(half - ours).max() < 0.05
    assert grad_cam(model, IMAGE, "decoder.3", "final").max() == 1.0 and layer_names(model)


def test_an_image_that_is_none_is_refused(model):
    with pytest.raises(ValueError, match="floating point values must lie in"):
        output_maps(model, np.full((64, 64, 3), 7.0))


def test_public_and_lazy():
    assert ehanet.explain.grad_cam is grad_cam
    assert "explain" in dir(ehanet)
