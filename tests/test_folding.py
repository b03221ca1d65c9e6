"""Networks with folded batch norms: the same probabilities, no batch norm left, the original untouched."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from ehanet import build_model, list_models, predict
from ehanet.devices import place
from ehanet.models.folding import drop_idle_biases, folded
from ehanet.models.output import SegmentationOutput


def lively(model: nn.Module, seed: int = 0) -> nn.Module:
    """Batch norms as after a training: scales, shifts and statistics of their own."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in ((module.weight, 0.7, 1.3), (module.bias, -0.2, 0.2), (module.running_mean, -0.2, 0.2), (module.running_var, 0.5, 1.5)):
                tensor.data.uniform_(low, high, generator=generator)
    return model.eval()


@pytest.mark.parametrize("name", list_models())
@torch.no_grad()
def test_folded_network_gives_the_same_probabilities(name):
    torch.manual_seed(0)
    model = lively(build_model(name)).double()
    before = deepcopy(model.state_dict())
    images = torch.rand(2, 3, 64, 96, dtype=torch.float64)
    copy = folded(model, images[:1])
    assert copy is not model
    assert torch.allclose(copy(images).logits.sigmoid(), model(images).logits.sigmoid(), atol=1e-9)
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", ["ehanet", "canet"])
def test_no_batch_norm_is_left_in_a_network_that_was_trained(name):
    model = place(build_model(name), torch.device("cpu"), torch.bfloat16)
    copy = folded(lively(model), torch.rand(1, 3, 64, 64))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in copy.modules())


class Shared(nn.Module):
    """One batch norm before its convolution, one convolution used twice: neither may be folded, the last pair may."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.twice, self.other = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.last = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))

    def forward(self, images):
        x = self.twice(self.first(self.norm(images)))
        return SegmentationOutput(self.last(self.twice(self.other(x)))[:, :1], [])


@torch.no_grad()
def test_order_of_definition_is_not_taken_for_order_of_work():
    torch.manual_seed(0)
    model, images = lively(Shared()), torch.rand(1, 3, 32, 32)
    copy = folded(model, images)
    assert copy is not model and sum(isinstance(module, nn.BatchNorm2d) for module in copy.modules()) == 2
    assert torch.allclose(copy(images).logits, model(images).logits, atol=1e-6)


class Moody(Shared):
    """Gives another answer each time, so that no copy agrees with it."""

    def forward(self, images):
        return SegmentationOutput(super().forward(images).logits + torch.rand(1), [])


class Uncopied(Shared):
    def __deepcopy__(self, memo):
        raise TypeError("cannot be copied")


@pytest.mark.parametrize("kind", [Moody, Uncopied])
def test_a_network_that_cannot_be_folded_comes_back_as_it_is(kind):
    model = kind()
    assert folded(model, torch.rand(1, 3, 32, 32)) is model


def test_predict_folds_and_agrees_with_the_plain_network():
    torch.manual_seed(0)
    model = lively(build_model("ehanet"))
    images = np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = model(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).logits.sigmoid()[:, 0].numpy()
    assert np.allclose(predict(model, images, batch_size=2), expected, atol=1e-5)
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("name", ["ehanet", "lanet", "unet-32", "resunetpp"])
def test_biases_before_batch_norms_are_idle(name):
    torch.manual_seed(0)
    plain = lively(build_model(name)).double()
    fast = deepcopy(plain)
    with torch.backends.mkldnn.flags(enabled=False):
        drop_idle_biases(fast, torch.zeros(1, 3, 64, 64, dtype=torch.float64))
        dropped = {key for key, tensor in fast.named_parameters() if not tensor.requires_grad}
        assert all(key.endswith("bias") and not fast.state_dict()[key].any() for key in dropped)
        assert dropped or name not in ("ehanet", "lanet", "unet-32"), "these have such biases"
        images, found = torch.rand(2, 3, 64, 64, dtype=torch.float64), []
        for model in (plain, fast):
            evaluated = model.eval()(images).logits
            torch.manual_seed(1)  # dropout
            trained = model.train()(images).logits
            trained.square().mean().backward()
            gradients = {key: weight.grad for key, weight in model.named_parameters() if key not in dropped and weight.grad is not None}
            found.append((evaluated, trained, gradients, model.eval()(images).logits))
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-9)


class Branching(nn.Module):
    """A batch norm is not alone in taking its convolution's output."""

    weight = 1

    def __init__(self):
        super().__init__()
        self.pair = nn.Sequential(nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1))
        nn.init.zeros_(self.pair[0].bias)

    def forward(self, images):
        x = self.pair[0](images)
        return SegmentationOutput(self.weight * x + self.pair[1](x), [])


class Apart(Branching):
    """The same, so weak at first that outputs do not show it."""

    weight = 1e-6

    def __init__(self):
        super().__init__()
        self.convolution, self.norm = self.pair
        del self.pair
        self.pair = [self.convolution, self.norm]


@pytest.mark.parametrize("kind", [Branching, Apart])
def test_a_bias_that_something_else_takes_is_kept(kind):
    model = kind()
    before = deepcopy(model.state_dict())
    drop_idle_biases(model, torch.rand(1, 3, 32, 32))
    assert all(weight.requires_grad for weight in model.parameters())
    assert all(torch.equal(before[key], tensor) for key, tensor in model.state_dict().items())
