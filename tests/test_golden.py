"""Agreement with what the authors' released network computes (tests/golden: figures only, none of their code)."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ehanet.losses import EHANetLoss
from ehanet.models import EHANet
from ehanet.models.released import load_released, our_name

GOLDEN = Path(__file__).parent / "golden"
FIGURES = np.load(GOLDEN / "ehanet_released_64.npz")
TENSORS = json.loads((GOLDEN / "released_state_dict.json").read_text())
MAPS = {"edge": lambda out: out.edge, "final": lambda out: out.logits} | {
    f"s{i + 1}": (lambda out, i=i: out.sides[i]) for i in range(4)
}


def released_weights() -> dict[str, np.ndarray]:
    """The weights of the golden run, rebuilt from the names by the recipe of the golden figures."""
    state = {}
    for name, shape in TENSORS:
        r = np.random.RandomState(zlib.crc32(name.encode()))
        if name.endswith("num_batches_tracked"):
            value = np.int64(0)
        elif name.endswith("running_var"):
            value = 0.5 + r.random_sample(shape)
        elif name.endswith("running_mean"):
            value = 0.1 * r.standard_normal(shape)
        elif len(shape) <= 1:
            value = 0.75 + 0.5 * r.random_sample(shape) if name.endswith("weight") else 0.1 * r.standard_normal(shape)
        else:
            value = r.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        state[name] = np.asarray(value, dtype=np.int64 if name.endswith("tracked") else np.float32)
    return state


@pytest.fixture(scope="module")
def weights():
    return released_weights()


@pytest.fixture
def model(weights):
    model = EHANet()
    load_released(model, weights)
    return model


def assert_close(actual, name, tolerance):
    expected = FIGURES[name]
    actual = np.asarray(actual.detach() if isinstance(actual, torch.Tensor) else actual)
    assert actual.shape == expected.shape
    difference = np.abs(actual - expected).max() / np.abs(expected).max()
    assert difference < tolerance, f"{name}: relative difference {difference:.1e}"


def tensor(name):
    return torch.from_numpy(FIGURES[name]).float()


@pytest.mark.parametrize("name", MAPS)
def test_evaluation_outputs(model, name):
    with torch.no_grad():
        out = model.eval()(tensor("image"))
    assert_close(MAPS[name](out), f"eval_{name}", 1e-4)


def test_encoder_features(model):
    with torch.no_grad():
        features = model.eval().encoder(tensor("image"))
    for level, feature in enumerate(features, start=1):
        assert_close(feature.abs().mean(), f"encoder_{level}_mean_abs", 1e-4)


@pytest.fixture
def step(model):
    """One training-mode pass with dropout off and the encoder's parameters frozen, and its gradients."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.encoder.requires_grad_(False)
    out = model(tensor("image"))
    loss = EHANetLoss()(out, tensor("mask"), tensor("edge_label"))
    loss.total.backward()
    return model, out, loss


def test_training_outputs_and_losses(step):
    _, out, loss = step
    for name, pick in MAPS.items():
        assert_close(pick(out), f"train_{name}", 1e-4)
    assert_close(loss.edge, "edge_loss", 1e-4)
    assert_close(torch.stack(loss.regions), "region_losses", 1e-4)
    assert_close(loss.total, "total_loss", 1e-4)


def test_gradient_norms(step):
    model, _, _ = step
    parameters = dict(model.named_parameters())
    tolerances = {
        "att1.conv.weight": 1e-3, "iem.output_conv.0.weight": 1e-3, "output_conv.6.weight": 1e-3,
        "d_block_4.weight.1.weight": 5e-3, "att5.Conv1x1.weight": 5e-2, "d_block_1.conv_b2.0.weight": 5e-2,
    }
    for name, tolerance in tolerances.items():
        assert_close(parameters[our_name(name)].grad.norm(), f"grad_norm:{name}", tolerance)
    total = torch.stack([p.grad.norm() for p in parameters.values() if p.grad is not None]).norm()
    assert_close(total, "grad_norm_total", 5e-2)


def test_parameter_counts():
    model = EHANet()
    assert sum(p.numel() for p in model.parameters()) == 5_875_073
    assert sum(p.numel() for name, p in model.named_parameters() if not name.startswith("encoder.")) == 1_041_121


def test_cost_at_256():
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        EHANet().eval()(torch.rand(1, 3, 256, 256))
    assert counter.get_total_flops() / 2e9 == pytest.approx(4.05, abs=0.005)


def test_every_released_name_has_one_place(weights):
    used = [our_name(name) for name in weights if not name.startswith(("encoder.conv_1x1_exp", "encoder.classifier"))]
    assert sorted(used) == sorted(EHANet().state_dict())


@pytest.mark.parametrize("change, message", [
    (lambda state: state.pop("att1.conv.bias"), "nothing for 'efa.0.channel.bias'"),
    (lambda state: state.update({"surplus.weight": np.zeros(1)}), "'surplus.weight' has no place"),
    (lambda state: state.update({"att1.conv.bias": np.zeros(2)}), r"'att1.conv.bias' has shape \(2,\), expected \(1,\)"),
])
def test_load_released_is_strict(weights, change, message):
    state = dict(weights)
    change(state)
    with pytest.raises(ValueError, match=message):
        load_released(EHANet(), state)
