"""See inside a network, one image at a time: Grad-CAM of any layer, all outputs, the gates of EFA and AHFA.

Every function looks on: hooks are removed, modes, gradients and weights are afterwards as they were. An image is (H, W, 3), uint8 or
floating in [0, 1], or a path; a model that was trained at a size sees the image squashed to it, as in ``predict``.

Grad-CAM is written out here rather than taken from pytorch-grad-cam, which agrees with it in the tests: the library leaves the model
in evaluation mode with its parameters' gradients cleared, and sees a map that an operation in place has overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ehanet.devices import float32_in_full
from ehanet.inference import check_image, network_input
from ehanet.models.blocks import pad_to_multiple
from ehanet.models.ehanet import AHFA, EFA
from ehanet.models.output import SegmentationOutput

COARSEST = 32  # stride of the deepest maps; images are padded to a multiple, so that every map lies exactly over the image
STRIDES = (1, 2, 4, 8, 16, COARSEST)


def layer_shapes(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Every layer whose output is a map, in the order in which they run: name as in ``named_modules`` -> (channels, stride).

    A layer that puts out several tensors counts by its first one, as AHFA by its feature D; maps may have their channels last, as in Swin.
    """
    like = _parameter(model)
    shapes: dict[str, tuple[int, int]] = {}

    def watch(name: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple, output) -> None:
            if (found := _as_map(output, (2 * COARSEST, 3 * COARSEST))) is not None:
                shapes.pop(name, None)
                shapes[name] = (found.shape[1], 2 * COARSEST // found.shape[2])

        return hook

    with _watching(model, {module: watch(name) for name, module in model.named_modules() if name}), torch.no_grad():
        model(torch.zeros(1, 3, 2 * COARSEST, 3 * COARSEST, dtype=like.dtype, device=like.device))
    return shapes


def layer_names(model: nn.Module) -> list[str]:
    """The layers that :func:`grad_cam` can look at, in the order in which they run."""
    return list(layer_shapes(model))


def grad_cam(model: nn.Module, image, layer: str, output: str = "final") -> np.ndarray:
    """Where a layer holds evidence for an output (Selvaraju et al., ICCV 2017): (H, W) float32 in [0, 1].

        y = sum of the output's logit over the pixels it finds (probability > 0.5; all pixels where it finds none)
        L = ReLU( sum_k w_k A_k ),  w_k = mean over the map of dy / dA_k,  A (K, h, w) the layer's map

    then L is enlarged bilinearly and divided by its largest value. The sum over found pixels is Seg-Grad-CAM (Vinogradova et al., AAAI 2020).
    All zeros says that no part of the map speaks for the output. A layer that runs several times counts at its last run.

    Args:
        image: (H, W, 3), uint8 or floating in [0, 1], or a path.
        layer: one of :func:`layer_names`.
        output: "final", a side output "s1" (coarsest), "s2", ..., or "edge".

    Raises:
        ValueError: unknown layer or output, or an output that does not depend on the layer; one line that names the known ones.
    """
    modules = dict(model.named_modules())
    if not layer or layer not in modules:
        raise ValueError(_no_layer(model, layer))
    x, shape = _to_network(model, image)
    size = x.shape[2:]
    kept: list = []

    def keep(module: nn.Module, inputs: tuple, out):
        """Keep the map and pass a copy on: an in-place operation further on must not reach what is kept."""
        kept[:] = [out]
        if isinstance(out, tuple) and isinstance(out[0], Tensor):
            return (out[0].clone(), *out[1:])
        return out.clone() if isinstance(out, Tensor) else None

    with _watching(model, {modules[layer]: keep}), torch.inference_mode(False), torch.enable_grad():
        padded = pad_to_multiple(x.clone(), COARSEST).requires_grad_()
        logits = _logits(model(padded))
        if output not in logits:
            raise ValueError(f"unknown output {output!r}; this network has: {', '.join(logits)}")
        logit = logits[output][..., :size[0], :size[1]]
        found = _as_map(kept[0], padded.shape[2:]) if kept else None
        if found is None:
            raise ValueError(_no_layer(model, layer))
        source, *others = kept[0] if isinstance(kept[0], tuple) else kept
        others = [part for part in others if isinstance(part, Tensor) and part.requires_grad]
        where = logit.detach() > 0
        target = logit[where].sum() if where.any() else logit.sum()
        gradient, *elsewhere = torch.autograd.grad(target, [source, *others], allow_unused=True) if source.requires_grad else [None]
    if gradient is None:
        if any(part is not None for part in elsewhere):
            raise ValueError(f"output {output!r} does not depend on the first of the maps that layer {layer!r} puts out: take a layer inside it, or another output")
        raise ValueError(f"output {output!r} does not depend on layer {layer!r}: take an earlier layer or a later output")
    weights = _as_map(gradient, padded.shape[2:]).mean(dim=(2, 3), keepdim=True)
    cam = (weights * found.detach()).sum(dim=1, keepdim=True).relu().float()
    cam = F.interpolate(cam, padded.shape[2:], mode="bilinear")[..., :size[0], :size[1]]
    cam = _to_image(cam, shape)
    return cam / cam.max() if cam.max() > 0 else cam


def output_maps(model: nn.Module, image) -> dict[str, np.ndarray]:
    """Probabilities of every output for an image (H, W, 3), (H, W) float32: side outputs "s1", "s2", ... from coarse to fine, "final", and "edge" where there is one."""
    out, shape = _run(model, image, {})
    return {name: _to_image(logit.float().sigmoid(), shape) for name, logit in _logits(out).items()}


def efa_gates(model: nn.Module, image) -> list[tuple[np.ndarray, np.ndarray]]:
    """EFA's gates for an image (H, W, 3), from shallow to deep: channel gate (C,) and spatial gate (h, w) of each, float32 in (0, 1); empty in a network without EFA."""
    seen: list = []
    _run(model, image, {module: lambda efa, inputs, output: seen.append(efa.gates(*inputs)) for module in model.modules() if isinstance(module, EFA)})
    return [(_array(channel).reshape(-1), _array(spatial)[0, 0]) for channel, spatial in seen]


def ahfa_gates(model: nn.Module, image) -> list[np.ndarray]:
    """The gate of each AHFA's side output for an image (H, W, 3), from coarse (s1) to fine (s4): (c,) float32 in (0, 1); empty in a network without AHFA."""
    seen: list = []
    _run(model, image, {module.gate: lambda gate, inputs, output: seen.append(output) for module in model.modules() if isinstance(module, AHFA)})
    return [_array(gate).reshape(-1) for gate in seen]


def _run(model: nn.Module, image, hooks: dict[nn.Module, Callable]) -> tuple[SegmentationOutput, tuple[int, int]]:
    """What the model puts out for the image, without gradients, and the image's height and width."""
    x, shape = _to_network(model, image)
    with _watching(model, hooks), torch.no_grad(), float32_in_full():
        return model(x), shape


@contextmanager
def _watching(model: nn.Module, hooks: dict[nn.Module, Callable]) -> Iterator[None]:
    """Evaluation mode with these forward hooks; both end as they began, each module in its own mode."""
    modes = {module: module.training for module in model.modules()}
    handles = [module.register_forward_hook(hook) for module, hook in hooks.items()]
    try:
        model.eval()
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training


def _to_network(model: nn.Module, image) -> tuple[Tensor, tuple[int, int]]:
    """The image as the network sees it, (1, 3, h, w) on its device in the type of its weights, and the image's own height and width."""
    array = check_image(image, str(image) if not hasattr(image, "shape") else "image")
    return network_input(array, getattr(model, "input_size", None)).to(_parameter(model)), array.shape[:2]


def _to_image(x: Tensor, shape: tuple[int, int]) -> np.ndarray:
    """(1, 1, h, w) -> (H, W) float32 at the image's own size."""
    if x.shape[2:] != shape:
        x = F.interpolate(x.float(), shape, mode="bilinear", antialias=True)
    return np.clip(_array(x)[0, 0], 0, None)


def _array(x: Tensor) -> np.ndarray:
    return x.detach().float().cpu().numpy()


def _parameter(model: nn.Module) -> Tensor:
    return next(model.parameters(), torch.zeros(0))


def _logits(out: SegmentationOutput) -> dict[str, Tensor]:
    """Name -> logit (1, 1, H, W) of every output; that of the edge is z_1 - z_0, whose sigmoid is the softmax."""
    logits = {f"s{number}": side for number, side in enumerate(out.sides, start=1)} | {"final": out.logits}
    if out.edge_logits is not None:
        logits["edge"] = out.edge_logits[:, 1:] - out.edge_logits[:, :1]
    return logits


def _as_map(output, size: tuple[int, int]) -> Tensor | None:
    """(1, C, h, w) with h and w a whole stride below ``size``, from what a layer puts out; None where that is no map."""
    if isinstance(output, tuple) and output:
        output = output[0]
    if not isinstance(output, Tensor) or output.ndim != 4 or len(output) != 1:
        return None
    for axes in ((0, 1, 2, 3), (0, 3, 1, 2)):
        candidate = output.permute(axes)
        if any((candidate.shape[2] * stride, candidate.shape[3] * stride) == tuple(size) for stride in STRIDES):
            return candidate
    return None


def _no_layer(model: nn.Module, layer: str) -> str:
    names = layer_names(model)
    close = get_close_matches(layer, names, n=5, cutoff=0.5) or sorted(names, key=lambda name: name.count("."))[:12]
    return f"layer {layer!r} is none of this network's {len(names)} layers with a map (layer_names(model) lists them); among them: {', '.join(close)}"
