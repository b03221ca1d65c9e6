"""Convolutions on a CPU: gradients that are mended or computed another way are those of the plain layer."""

import numpy as np
import pytest
import torch
from torch import nn

from ehanet.convolutions import CHANNELS, PIXELS, prepare_convolutions
from ehanet.devices import forward_pass, place
from ehanet.models import build_loss, build_model
from ehanet.models.blocks import resize

CPU = torch.device("cpu")
SIDE = int(PIXELS**0.5)


def channels_last(*shape):
    return torch.randn(shape).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels, kernel, dilation, groups, size", [
    (24, 3, 2, 1, 32), (24, 3, 2, 24, 32), (32, 3, 2, 32, 32), (32, 3, 2, 1, 32),  # dilated
    (128, 7, 1, 1, 2), (128, 5, 1, 1, 1), (3, 9, 1, 1, 2)])  # padded by more rows than there are
def test_weights_are_trained_in_bfloat16_as_in_full_precision(channels, kernel, dilation, groups, size):
    """Shapes that oneDNN gets wrong on a CPU with AVX-512 BF16, and a neighbour; elsewhere this cannot be red."""
    model = nn.Sequential(nn.Conv2d(channels, channels, kernel, padding=dilation * (kernel // 2), dilation=dilation, groups=groups))
    model.to(memory_format=torch.channels_last)
    images, upstream = channels_last(4, channels, size, size), torch.randn(4, channels, size, size)
    exact, = torch.autograd.grad(model(images), model[0].weight, upstream)
    place(model, CPU, torch.bfloat16)
    for _ in range(3):
        [torch.full((size,), float("nan")) for size in 4 ** np.arange(6, 12)]  # freed at once: what is read unwritten shows
        found = forward_pass(model, images, torch.bfloat16)
        gradient, = torch.autograd.grad(found, model[0].weight, upstream.to(found.dtype))
        torch.testing.assert_close(gradient, exact, rtol=0.02, atol=0.02 * float(exact.abs().max()))


def test_a_layer_padded_by_more_rows_than_its_image_has_computes_in_full_precision():
    model = place(nn.Sequential(nn.Conv2d(8, 8, 7, padding=3)), CPU, torch.bfloat16)
    found = [forward_pass(model, torch.rand(1, 8, rows, 8), torch.bfloat16).dtype for rows in (2, 3)]
    assert found == [torch.float32, torch.bfloat16]
    assert list(model.state_dict()) == ["0.weight", "0.bias"]


@pytest.mark.parametrize("multiplier, bias, of_images", [(1, False, True), (2, True, True), (1, True, False)])
def test_gradients_of_a_strided_depthwise_layer_in_bfloat16(multiplier, bias, of_images):
    layer = nn.Conv2d(16, 16 * multiplier, 3, stride=2, padding=1, groups=16, bias=bias).to(memory_format=torch.channels_last)
    images = channels_last(2, 16, 9, 8).requires_grad_(of_images)
    asked = [*layer.parameters(), *[images] * of_images]
    plain = layer(images)
    upstream = torch.randn_like(plain)
    expected = torch.autograd.grad(plain, asked, upstream)
    model = place(nn.Sequential(layer), CPU, torch.bfloat16)
    found = forward_pass(model, images, torch.bfloat16)
    assert found.dtype == torch.bfloat16 and ("_WideInputGradient" in type(found.grad_fn).__name__) == of_images
    for gradient, exact in zip(torch.autograd.grad(found, asked, upstream.to(found.dtype)), expected, strict=True):
        torch.testing.assert_close(gradient, exact, rtol=0.02, atol=0.02 * float(exact.abs().max()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_is_taken_apart_in_bfloat16_alone(dtype):
    model = place(build_model("ehanet"), CPU, dtype)
    fused = {module.fused_attn for module in model.modules() if hasattr(module, "fused_attn")}
    assert fused == {dtype == torch.float32}


@pytest.fixture
def no_avx512(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


@pytest.mark.parametrize("kernel, padding, bias, of_images", [(3, 1, True, True), ((3, 5), (1, 2), False, True), (5, 1, True, False)])
def test_gradients_of_large_maps(no_avx512, kernel, padding, bias, of_images):
    layer = nn.Conv2d(CHANNELS, 8, kernel, padding=padding, bias=bias).to(memory_format=torch.channels_last)
    images = channels_last(2, CHANNELS, SIDE, SIDE).requires_grad_(of_images)
    asked = [*layer.parameters(), *[images] * of_images]
    plain = layer(images)
    upstream = torch.randn_like(plain)
    expected = torch.autograd.grad(plain, asked, upstream)
    prepare_convolutions(layer, torch.float32)
    found = layer(images)
    assert type(found.grad_fn).__name__ == "_PlainWeightGradientBackward"
    assert torch.equal(found, plain) and found.is_contiguous(memory_format=torch.channels_last)
    for gradient, exact in zip(torch.autograd.grad(found, asked, upstream), expected, strict=True):
        torch.testing.assert_close(gradient, exact, rtol=1e-4, atol=1e-5 * float(exact.abs().max()))


def test_what_keeps_the_plain_gradient(no_avx512):
    """Small maps, few channels, strides, groups, dilation, other paddings, frozen weights, and whatever needs no gradient."""
    images = channels_last(1, CHANNELS, SIDE, SIDE).requires_grad_()
    for options in ({"stride": 2}, {"groups": 2}, {"dilation": 2}, {"padding_mode": "reflect"}, {"padding": "same"}, {"padding": 0}):
        layer = nn.Conv2d(CHANNELS, 8, 3, **{"padding": 1, **options})
        prepare_convolutions(layer, torch.float32)
        assert type(layer) is nn.Conv2d, options
    few, layer = nn.Conv2d(CHANNELS - 1, 8, 3, padding=1), nn.Conv2d(CHANNELS, 8, 3, padding=1)
    for each in (few, layer):
        prepare_convolutions(each, torch.float32)
    assert type(few) is nn.Conv2d
    assert type(layer(images[:, :, 1:]).grad_fn).__name__ == "ConvolutionBackward0"
    layer.requires_grad_(False)
    assert type(layer(images).grad_fn).__name__ == "ConvolutionBackward0"
    with torch.no_grad():
        assert layer(images).grad_fn is None


def test_a_network_prepared_for_one_precision_can_be_prepared_for_another(no_avx512):
    layer, images = nn.Conv2d(CHANNELS, 8, 3, padding=1), channels_last(1, CHANNELS, SIDE, SIDE)
    prepare_convolutions(layer, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        layer(images).sum().backward()
    assert layer.weight.grad.isfinite().all()
    kinds = []
    for dtype in (torch.bfloat16, torch.float32):
        prepare_convolutions(layer, dtype)
        kinds.append(type(layer).__name__)
    assert kinds == ["_FullPrecisionOfSmallMaps", "_PlainOrderOfLargeMaps"]


def test_only_processors_without_avx512_take_the_other_way(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    layer = nn.Conv2d(CHANNELS, 8, 3, padding=1)
    prepare_convolutions(layer, torch.float32)
    assert type(layer) is nn.Conv2d


def test_a_step_of_ehanet_has_the_gradients_of_the_plain_network(no_avx512):
    """In evaluation mode, since the mobile encoder drops at random, and batch statistics spread the rounding."""
    torch.manual_seed(0)
    model, images = build_model("ehanet"), torch.rand(2, 3, 128, 128)
    mask = torch.zeros(2, 1, 128, 128)
    mask[:, :, 20:70, 30:90] = 1

    def step():
        model.eval().zero_grad(set_to_none=True)
        build_loss("ehanet")(forward_pass(model, images, torch.float32), mask, mask).total.backward()
        return {name: value.grad.clone() for name, value in model.named_parameters()}

    expected = step()
    place(model, CPU, torch.float32)
    assert any(type(layer).__name__ == "_PlainOrderOfLargeMaps" for layer in model.decoder.modules())
    assert not any(layer.inplace for layer in model.modules() if isinstance(layer, nn.SiLU))
    for name, gradient in step().items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-4 * float(expected[name].abs().max()) + 1e-9, msg=name)


def test_the_gradient_of_a_resized_part_of_a_concatenation_lies_densely():
    images, upstream, seen = channels_last(2, 4, 8, 8).requires_grad_(), channels_last(2, 8, 16, 16), []
    resized = resize(images, torch.Size((16, 16)))
    resized.register_hook(lambda gradient: seen.append(gradient.is_contiguous(memory_format=torch.channels_last)))
    torch.cat([resized, channels_last(2, 4, 16, 16)], dim=1).backward(upstream)
    assert seen == [True]
    plain = nn.functional.interpolate(images, (16, 16), mode="bilinear")
    torch.testing.assert_close(images.grad, torch.autograd.grad(plain, images, upstream[:, :4].contiguous())[0])
