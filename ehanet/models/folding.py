"""Batch norms folded into convolutions: the same function in evaluation mode with half the passes over memory. And biases that batch norms take away again."""

from __future__ import annotations

from collections import defaultdict
from copy import deepcopy
from itertools import pairwise

import torch
from timm.models.mobilevit import MobileVitBlock
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from ehanet.convolutions import plain_order
from ehanet.devices import float32_in_full
from ehanet.models.output import as_output

TOLERANCE = 1e-4  # largest difference of a probability; float32 rounding gives about 1e-6


@torch.no_grad()
def folded(model: nn.Module, images: Tensor, mask_only: bool = False) -> nn.Module:
    """A copy for inference: w' = w g / sqrt(v + eps), b' = (b - m) g / sqrt(v + eps) + beta for each convolution (w, b) that a batch norm
    (scale g, shift beta, running mean m and variance v) follows, with weights in channels-last order.

    Which convolution feeds which batch norm is seen by running the network, not guessed from names, and the copy is compared with the
    original on ``images``. A network that has nothing to fold, that cannot be copied, or whose copy differs, comes back as it is.

    Args:
        model: any network of the suite; it is not changed, and put in evaluation mode.
        images: (B, 3, H, W) floating in [0, 1] on the model's device: an example; one image is enough.
        mask_only: the copy is to give the final logits alone: EHANet's other outputs are left out.
    """
    model.eval()
    try:
        copy = deepcopy(model)
    except (RuntimeError, TypeError):  # a network of the user's own may hold what cannot be copied
        return model
    with float32_in_full():  # a GPU's ten-bit products differ by more than the tolerance
        return _folded(model, copy, images, mask_only)


def _folded(model: nn.Module, copy: nn.Module, images: Tensor, mask_only: bool) -> nn.Module:
    expected, pairs = _run_and_watch(copy, images)
    if not pairs:
        return model
    places = defaultdict(list)  # all at once: a search for each norm takes longer than the folding
    for parent in copy.modules():
        for name, child in parent.named_children():
            places[child].append((parent, name))
    for convolution, norm in pairs:
        convolution.weight, convolution.bias = fuse_conv_bn_weights(convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps,
                                                                    norm.weight, norm.bias)
        rest = nn.Sequential(norm.drop, norm.act) if hasattr(norm, "act") else nn.Identity()  # timm's norms hold their activation
        for parent, name in places[norm]:
            setattr(parent, name, rest.eval())
    copy.to(memory_format=torch.channels_last)
    for module in copy.modules():
        if isinstance(module, MobileVitBlock):  # the patches of one image alone are a view of the map, with which each addition takes ten times as long
            module.transformer.register_forward_pre_hook(plain_order)
        if mask_only and hasattr(module, "mask_only") and not module._forward_hooks:  # a hook may look at what would be left out
            module.mask_only = True
    difference = (_probabilities(copy, images) - expected).abs().max().item()
    return copy if difference <= TOLERANCE else model


@torch.no_grad()
def drop_idle_biases(model: nn.Module, images: Tensor) -> None:
    """Take the bias from each convolution that a batch norm follows in a ``Sequential``, out of its running mean too: the same function, before and after training.

    In training a batch norm subtracts the mean of its batch, and any bias with it. The bias stays in place as zeros, which nothing trains; on a GPU adding it and
    summing up its gradient are a twelfth of a step.

    Args:
        model: any network of the suite; it is left in evaluation mode.
        images: as in :func:`folded`.
    """
    with float32_in_full():
        expected, pairs = _run_and_watch(model.eval(), images)
        in_a_row = {pair for module in model.modules() if isinstance(module, nn.Sequential) for pair in pairwise(module)}  # so that nothing else takes the output
        pairs = [pair for pair in pairs if pair in in_a_row and type(pair[0]) is nn.Conv2d and pair[0].bias is not None]
        _raise_biases(pairs, 1)
        same = not pairs or (_probabilities(model, images) - expected).abs().max() <= TOLERANCE
        _raise_biases(pairs, -1)
    if same:  # else a network of the user's own takes a sequence apart
        for convolution, norm in pairs:
            norm.running_mean -= convolution.bias
            convolution.bias.zero_().requires_grad_(False)
            convolution.__class__ = _WithoutBias


def _raise_biases(pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]], by: float) -> None:
    for convolution, norm in pairs:
        convolution.bias += by
        norm.running_mean += by


class _WithoutBias(nn.Conv2d):
    """A convolution whose bias is zero."""

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.weight, None)


def _probabilities(model: nn.Module, images: Tensor) -> Tensor:
    return as_output(model, (images,), model(images)).logits.sigmoid()  # a network of the user's own may return logits alone


def _run_and_watch(model: nn.Module, images: Tensor) -> tuple[Tensor, list[tuple[nn.Conv2d, nn.BatchNorm2d]]]:
    """Probabilities (B, 1, H, W), and the (convolution, batch norm) pairs in which each works once and the norm takes the convolution's output."""
    outputs, calls, pairs = {}, {}, []

    def after(module, inputs, output):
        calls[module] = calls.get(module, 0) + 1
        outputs[id(output)] = module, output, output._version  # the output is kept, so that no other tensor gets its id

    def before(module, inputs):
        calls[module] = calls.get(module, 0) + 1
        convolution, _, version = outputs.get(id(inputs[0]), (None, None, None))
        if convolution is not None and inputs[0]._version == version:  # else an activation has changed it in place
            pairs.append((convolution, module))

    hooks = [module.register_forward_hook(after) for module in model.modules() if isinstance(module, nn.Conv2d)]
    hooks += [module.register_forward_pre_hook(before) for module in model.modules() if isinstance(module, nn.BatchNorm2d) and module.track_running_stats]
    probabilities = _probabilities(model, images)
    for hook in hooks:
        hook.remove()
    return probabilities, [pair for pair in pairs if calls[pair[0]] == calls[pair[1]] == 1]
