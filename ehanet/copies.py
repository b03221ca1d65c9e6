"""Weights kept in float32 for the optimizer, with copies in the type that the network computes in (Micikevicius et al., ICLR 2018, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

LAYERS = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)  # whose weights autocast converts


class WorkingCopies:
    """A network that computes with copies of its layers' weights in a narrower type.

    Autocast makes the same copies, and brings the gradients back, with a kernel for each tensor of each step; here two kernels or so do it for all. Gradients
    are autocast's to the last bit.

    Args:
        model: its weights must keep their places (be changed in place), as an optimizer and ``load_state_dict`` do.
        dtype: the type that :func:`ehanet.devices.forward_pass` computes in.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype):
        self.model, self.dtype = model, dtype
        self.weights = {f"{name}.{part}".removeprefix("."): weight for name, layer in model.named_modules() if isinstance(layer, LAYERS)
                        for part, weight in layer.named_parameters(recurse=False)}
        self.copies = {name: weight.detach().to(dtype).requires_grad_(weight.requires_grad) for name, weight in self.weights.items()}

    def __call__(self, images: Tensor):
        """What the network gives, from weights as they are now."""
        with torch.no_grad():
            torch._foreach_copy_(list(self.copies.values()), list(self.weights.values()))
        return functional_call(self.model, self.copies, (images,))

    @torch.no_grad()
    def hand_back(self) -> None:
        """Move the copies' gradients to the weights'."""
        pairs = [(weight, copy.grad) for weight, copy in zip(self.weights.values(), self.copies.values()) if copy.grad is not None]
        for weight, _ in pairs:
            weight.grad = torch.empty_like(weight)
        if pairs:
            torch._foreach_copy_([weight.grad for weight, _ in pairs], [gradient for _, gradient in pairs])
        for copy in self.copies.values():
            copy.grad = None
