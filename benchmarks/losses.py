"""The losses: forward and backward, 8 x 256 x 256."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks import released
from benchmarks.timing import Ratio, compare
from ehanet.data.edges import edge_labels
from ehanet.graphs import recorded
from ehanet.losses import EDGE_LOSSES, EHANetLoss
from ehanet.models.output import SegmentationOutput

SHAPE = (8, 1, 256, 256)


def rows(device: torch.device, peaks: dict) -> list[Ratio]:
    """The lines of this group."""
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(SHAPE, generator=generator).to(device).requires_grad_() for _ in range(5)]
    edge_logits = torch.randn(8, 2, 256, 256, generator=generator).to(device).requires_grad_()
    mask = torch.zeros(SHAPE, device=device)
    mask[:, :, 60:160, 80:200] = 1
    edge = edge_labels(mask)
    ours, lovasz = EHANetLoss(), EDGE_LOSSES["lovasz"]

    def output() -> SegmentationOutput:
        return SegmentationOutput(logits[4], logits[:4], edge_logits.softmax(dim=1), edge_logits)

    def once(loss: Callable[[], Tensor]) -> Callable[[], list[Tensor]]:
        def call() -> list[Tensor]:
            for leaf in (*logits, edge_logits):
                leaf.grad = None
            value = loss()
            value.backward()
            return [value.detach(), *(leaf.grad for leaf in (*logits, edge_logits))]
        return call

    return [
        compare("Lovasz-softmax", once(lambda: released.lovasz(edge_logits.softmax(dim=1), edge[:, 0])),
                recorded(once(lambda: lovasz(edge_logits, edge)), device), device, 9, 4 if device.type == "cpu" else 2,
                note="forward and backward; ours as a step takes it: from a recording on a GPU"),
        compare("the whole loss", once(lambda: released.loss(output(), mask, edge)), recorded(once(lambda: ours(output(), mask, edge).total), device), device, 9,
                note="edge and five regions, forward and backward"),
    ]
