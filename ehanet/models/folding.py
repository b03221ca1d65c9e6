"""Batch norms folded into convolutions: the same function in evaluation mode with half the passes over memory."""

from __future__ import annotations

from collections import defaultdict
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

TOLERANCE = 1e-4  # largest difference of a probability; float32 rounding gives about 1e-6


@torch.no_grad()
def folded(model: nn.Module, images: Tensor) -> nn.Module:
    """A copy for inference: w' = w g / sqrt(v + eps), b' = (b - m) g / sqrt(v + eps) + beta for each convolution (w, b) that a batch norm
    (scale g, shift beta, running mean m and variance v) follows, with weights in channels-last order.

    Which convolution feeds which batch norm is seen by running the network, not guessed from names, and the copy is compared with the
    original on ``images``. A network that has nothing to fold, that cannot be copied, or whose copy differs, comes back as it is.

    Args:
        model: any network of the suite; it is not changed, and put in evaluation mode.
        images: (B, 3, H, W) floating in [0, 1] on the model's device: an example; one image is enough.
    """
    model.eval()
    try:
        copy = deepcopy(model)
    except (RuntimeError, TypeError):  # a network of the user's own may hold what cannot be copied
        return model
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # a GPU's ten-bit products differ by more than the tolerance
        return _folded(model, copy, images)


def _folded(model: nn.Module, copy: nn.Module, images: Tensor) -> nn.Module:
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
    difference = (copy(images).logits.sigmoid() - expected).abs().max().item()
    return copy if difference <= TOLERANCE else model


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
    probabilities = model(images).logits.sigmoid()
    for hook in hooks:
        hook.remove()
    return probabilities, [pair for pair in pairs if calls[pair[0]] == calls[pair[1]] == 1]
