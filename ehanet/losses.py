"""Losses: what EHANet is trained with, and the parts it is made of.

``mask`` and ``edge_label`` are (B, 1, H, W) with values 0 and 1; every sum runs over the whole batch, as released.
A method's loss is a callable ``(output, mask, edge_label) -> LossTerms``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class LossTerms(NamedTuple):
    """A loss and its parts, each a tensor of no dimension.

    Attributes:
        total: what is minimised.
        edge: its edge term, or None.
        regions: its terms for the region outputs, the last for the final logit.
    """

    total: Tensor
    edge: Tensor | None
    regions: list[Tensor]


def lovasz_softmax(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Lovasz-softmax over the whole batch, averaged over the classes present in the labels.

    For class c with errors e = |1[y = c] - p_c| sorted in descending order, the loss is ``<e, grad>``, where grad are the
    increments of the Jaccard loss along the sorting (Berman, Triki, Blaschko, CVPR 2018, equations 8, 9 and 11).

    Args:
        probabilities: (B, C, H, W), softmax output: the classes of a pixel sum to one.
        labels: (B, H, W) or (B, 1, H, W), class indices 0 .. C-1.

    Raises:
        ValueError: shapes that do not fit, labels that are no class.
    """
    labels = labels.squeeze(1) if labels.ndim == 4 else labels
    if probabilities.ndim != 4 or labels.shape != (len(probabilities), *probabilities.shape[2:]):
        raise ValueError(f"lovasz_softmax: expected probabilities (B, C, H, W) and labels (B, H, W) or (B, 1, H, W), "
                         f"got {tuple(probabilities.shape)} and {tuple(labels.shape)}")
    if not labels.numel():
        raise ValueError("lovasz_softmax: no pixel in the batch")
    low, high = labels.aminmax()
    unlike_one = (probabilities.detach().sum(dim=1) - 1).abs().amax()
    low, high, unlike_one = torch.stack([low, high, unlike_one]).tolist()  # waits for a GPU once, as the sorting below does; training does not come here
    if not 0 <= low <= high < probabilities.shape[1]:
        raise ValueError(f"lovasz_softmax: labels must be classes from 0 to {probabilities.shape[1] - 1}, found {low:g} to {high:g}")
    if probabilities.shape[1] == 2 and low < high and unlike_one < 1e-3:
        return _lovasz_two_classes((probabilities[:, 1] + 1 - probabilities[:, 0]) / 2, labels)  # a gradient for each channel, as the sum over classes has
    losses = []
    for index in range(probabilities.shape[1]):
        foreground = (labels == index).flatten()
        if foreground.any():
            errors = (foreground.to(probabilities.dtype) - probabilities[:, index].flatten()).abs()
            order, ordered = _by_error(errors.detach(), foreground)
            losses.append(errors @ _scattered(_increments(_jaccard_losses(ordered, errors.dtype)), order))
    return torch.stack(losses).mean()


def _lovasz_two_classes(probability: Tensor, labels: Tensor) -> Tensor:
    """Lovasz-softmax of a two-class softmax from the probability of class 1, (B, H, W), and labels of as many pixels: both classes have the same
    errors, so one sort serves both."""
    return _TwoClasses.apply(probability, labels)


class _TwoClasses(torch.autograd.Function):
    """The loss is ``<e, grad>`` with grad constant but where errors change places, so grad is all that the backward pass needs."""

    @staticmethod
    def forward(ctx, probability: Tensor, labels: Tensor) -> Tensor:
        foreground = labels.flatten() > 0
        signed = probability.flatten() - foreground.to(probability.dtype)
        errors = signed.abs()
        order, ordered = _by_error(errors, foreground)
        gradient = _scattered(_increments(_two_jaccard_losses(ordered, errors.dtype)), order)
        ctx.save_for_backward((signed.sign() * gradient).view_as(probability))
        return errors @ gradient

    @staticmethod
    @once_differentiable
    def backward(ctx, outer: Tensor) -> tuple[Tensor, None]:
        return outer * ctx.saved_tensors[0], None


def _two_jaccard_losses(foreground: Tensor, dtype: torch.dtype) -> Tensor:
    """Mean over the classes present of :func:`_jaccard_losses` of ``foreground`` and of its complement, (P,) bool -> (P,): what one class has not missed
    the other has, so one count serves both."""
    pixels = len(foreground)
    found = foreground.cumsum(0, dtype=torch.int32)  # whole numbers count exactly
    missed = found[-1] - found
    seen = torch.arange(1, pixels + 1, dtype=torch.int32, device=found.device)
    present, other_present = (found[-1] > 0).to(dtype), (found[-1] < pixels).to(dtype)  # no branch, which a GPU would have to be waited for
    rest = present * (missed.to(dtype) / (missed + seen)) + other_present * ((pixels - seen - missed).to(dtype) / (pixels - missed))
    return 1 - rest / (present + other_present)


def _by_error(errors: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
    """Errors >= 0 and foreground, each (P,) -> their order from the largest error down, (P,), and the foreground in that order.

    On a CPU the bits of the errors are sorted by NumPy, since non-negative floats are ordered as their bits are; equal errors keep their places' order.
    """
    if errors.device.type != "cpu" or errors.dtype != torch.float32:
        order = torch.sort(errors, descending=True).indices
        return order, foreground[order]
    by_bits = _by_radix if torch.backends.cpu.get_cpu_capability() == "AVX512" else _by_keys  # which is faster: benchmarks/README.md
    order, ordered = by_bits((~errors.view(torch.int32)).numpy().view(np.uint32), foreground.numpy())
    return torch.from_numpy(order), torch.from_numpy(ordered)


def _by_radix(bits: np.ndarray, foreground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """uint32 and bool (P,) -> int64 and bool (P,) in the order of bits: two radix sorts of 16 bits, of which the second is stable."""
    order = np.argsort(bits.astype(np.uint16), kind="stable")
    order = order[np.argsort((bits >> 16).astype(np.uint16)[order], kind="stable")]
    return order, foreground[order]


def _by_keys(bits: np.ndarray, foreground: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same from one sort of 64-bit keys: bits, place (of fewer than 2^31) and foreground."""
    keys = (bits.astype(np.uint64) << 32) | (np.arange(len(bits), dtype=np.uint64) << 1) | foreground
    keys.sort()
    return ((keys & 0xFFFFFFFF) >> 1).view(np.int64), (keys & 1).astype(bool)


def _jaccard_losses(foreground: Tensor, dtype: torch.dtype) -> Tensor:
    """1 - intersection / union as pixels, sorted by error, turn wrong one after another; bool (P,) -> (P,)."""
    found = foreground.cumsum(0, dtype=torch.int32)  # whole numbers count exactly
    missed = found[-1] - found
    seen = torch.arange(1, len(found) + 1, dtype=torch.int32, device=found.device)
    return 1 - missed.to(dtype) / (missed + seen)


def _increments(losses: Tensor) -> Tensor:
    """(P,) -> (P,), what each pixel adds."""
    return torch.diff(losses, prepend=losses.new_zeros(1))


def _scattered(ordered: Tensor, order: Tensor) -> Tensor:
    """Back from the order of the errors to that of the pixels: the gradient of the loss with respect to the errors."""
    return torch.empty_like(ordered).scatter_(0, order, ordered)


def dice_bce(logits: Tensor, mask: Tensor, per_image: bool = False, smooth: float | None = None) -> Tensor:
    """0.5 BCE(logits, y) + 0.5 (1 - (2 sum(p y) + e) / (sum p + sum y + e)), p = sigmoid(logits).

    Args:
        logits: (B, 1, H, W).
        mask: (B, 1, H, W), 0 or 1.
        per_image: the Dice part of each image, then their mean, so that a small object weighs as much as a large one, as in the
            score. Else its sums go over the whole batch, as released.
        smooth: e as a fraction of the pixels summed over; None: one pixel, as released. With ``per_image`` an image without an object
            pulls its probabilities down with a force of 1 / e once their sum is below e, and hardly before: with one pixel, hardly ever.

    Raises:
        ValueError: different shapes.
    """
    if logits.shape != mask.shape:
        raise ValueError(f"dice_bce: logits {tuple(logits.shape)} and mask {tuple(mask.shape)} differ in shape")
    mask = mask.to(logits.dtype)
    return 0.5 * F.binary_cross_entropy_with_logits(logits, mask) + 0.5 * dice_loss(logits.sigmoid(), mask, per_image, smooth)


def dice_loss(probability: Tensor, mask: Tensor, per_image: bool = False, smooth: float | None = None) -> Tensor:
    """1 - (2 sum(p y) + e) / (sum p + sum y + e), sums over the whole batch, or over each image and then the mean.

    Args:
        probability, mask: (B, 1, H, W), p between 0 and 1, y 0 or 1, of one type. per_image, smooth: as in :func:`dice_bce`.
    """
    over = (1, 2, 3) if per_image else (0, 1, 2, 3)
    e = 1 if smooth is None else smooth * (mask[0] if per_image else mask).numel()
    return (1 - (2 * (probability * mask).sum(over) + e) / (probability.sum(over) + mask.sum(over) + e)).mean()


def structure_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """BCE + weighted soft IoU of PraNet (Fan et al., MICCAI 2020, section 2.4), mean over the images of the batch.

    IoU part of one image: 1 - (sum(w p y) + 1) / (sum(w (p + y - p y)) + 1), w = 1 + 5 |average_31x31(y) - y|, which
    weighs pixels near the outline up to six times. The paper weighs the BCE by w as well. The authors' code means to,
    but passes ``reduce="none"``, which PyTorch reads as "take the mean": the plain BCE is left, and the weights cancel.
    This is that loss, the one their published weights were trained with; CFANet took it over.

    Args:
        logits: (B, 1, H, W).
        mask: (B, 1, H, W), 0 or 1.

    Raises:
        ValueError: different shapes.
    """
    if logits.shape != mask.shape:
        raise ValueError(f"structure_loss: logits {tuple(logits.shape)} and mask {tuple(mask.shape)} differ in shape")
    mask = mask.to(logits.dtype)
    weight = 1 + 5 * (F.avg_pool2d(mask, 31, stride=1, padding=15) - mask).abs()
    probability = logits.sigmoid()
    intersection = (weight * probability * mask).sum(dim=(1, 2, 3))
    union = (weight * (probability + mask)).sum(dim=(1, 2, 3)) - intersection
    iou = 1 - (intersection + 1) / (union + 1)
    return F.binary_cross_entropy_with_logits(logits, mask) + iou.mean()


def _full_precision(x: Tensor) -> Tensor:
    """Sums over a batch of pixels lose their last digits in half precision."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class LogitLoss:
    """Half BCE, half Dice over the batch, on the final logit alone: the loss of methods whose paper asks for nothing else."""

    region = staticmethod(dice_bce)  # of logits (B, 1, H, W) and a mask; a method with another loss puts its own here

    def __call__(self, output, mask: Tensor, edge_label: Tensor | None = None) -> LossTerms:
        region = self.region(_full_precision(output.logits), mask)
        return LossTerms(region, None, [region])


def _edge_bce(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of a two-class softmax: its one logit is the difference of the channels."""
    background, edge = logits.split(1, dim=1)
    return F.binary_cross_entropy_with_logits(edge - background, labels.to(edge.dtype))


EDGE_LOSSES = {  # edge logits (B, 2, H, W) and label (B, 1, H, W) -> loss
    "lovasz": lambda logits, labels: _lovasz_two_classes(logits.softmax(dim=1)[:, 1], labels),
    "bce": _edge_bce,
    "dice": lambda logits, labels: dice_loss(logits.softmax(dim=1)[:, 1:], labels.to(logits.dtype)),
}


class EHANetLoss:
    """Lovasz-softmax(edge) + sum of Dice-BCE over s1, s2, s3, s4 and the final logit, all with weight one.

    Without an edge branch (``output.edge`` is None) the edge term is absent. Half-precision outputs are scored in float32.

    Args:
        edge_loss: "lovasz" as released; "bce" or "dice" for the ablation.
        deep_supervision: False scores the final logit alone, so the side heads learn nothing.
        per_image, smooth: see ``dice_bce``; of the region terms.

    Raises:
        ValueError: an unknown ``edge_loss``, or ``smooth`` not between 0 and 1.
    """

    def __init__(self, edge_loss: str = "lovasz", deep_supervision: bool = True, per_image: bool = False, smooth: float | None = None):
        if edge_loss not in EDGE_LOSSES:
            raise ValueError(f"edge_loss: {edge_loss!r} is none of {', '.join(EDGE_LOSSES)}")
        if smooth is not None and not 0 < smooth < 1:
            raise ValueError(f"smooth: {smooth} is no fraction of an image's pixels; give a number above 0 and below 1, 0.002 for instance")
        self.edge_loss, self.deep_supervision, self.per_image, self.smooth = EDGE_LOSSES[edge_loss], deep_supervision, per_image, smooth

    def __call__(self, output, mask: Tensor, edge_label: Tensor | None = None) -> LossTerms:
        sides = output.sides if self.deep_supervision else []
        regions = [dice_bce(_full_precision(logits), mask, self.per_image, self.smooth) for logits in (*sides, output.logits)]
        total = torch.stack(regions).sum()
        if output.edge_logits is None:
            return LossTerms(total, None, regions)
        if edge_label is None or edge_label.shape not in (mask.shape, mask[:, 0].shape):
            raise ValueError(f"EHANetLoss: the network has an edge branch; give edge_label {tuple(mask.shape)}, got {None if edge_label is None else tuple(edge_label.shape)}")
        edge = self.edge_loss(_full_precision(output.edge_logits), edge_label.reshape(mask.shape))
        return LossTerms(total + edge, edge, regions)


class LovaszLoss:
    """Lovasz-softmax alone, on the final logit as the difference of two softmax channels: LANet's loss."""

    def __call__(self, output, mask: Tensor, edge_label: Tensor | None = None) -> LossTerms:
        region = _lovasz_two_classes(_full_precision(output.logits).sigmoid(), mask)
        return LossTerms(region, None, [region])


class StructureLoss:
    """Sum of the structure loss over the side maps and the final logit; plus BCE on the edge where there is one.

    PraNet: a global map and three reverse-attention maps, no edge. CFANet: three region maps and a boundary, whose one
    logit is the difference of the two edge channels.
    """

    def __call__(self, output, mask: Tensor, edge_label: Tensor | None = None) -> LossTerms:
        regions = [structure_loss(_full_precision(logits), mask) for logits in (*output.sides, output.logits)]
        total = torch.stack(regions).sum()
        if output.edge_logits is None:
            return LossTerms(total, None, regions)
        if edge_label is None:
            raise ValueError("StructureLoss: the network has an edge branch; give edge_label (B, 1, H, W)")
        boundary = _edge_bce(_full_precision(output.edge_logits), edge_label)
        return LossTerms(total + boundary, boundary, regions)
