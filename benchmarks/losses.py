"""The losses: forward and backward, 8 x 256 x 256."""

from __future__ import annotations

import torch

from benchmarks import released
from benchmarks.timing import Ratio, compare
from ehanet.data.edges import edge_labels
from ehanet.losses import EHANetLoss, lovasz_softmax
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
    ours = EHANetLoss()

    def output() -> SegmentationOutput:
        return SegmentationOutput(logits[4], logits[:4], edge_logits.softmax(dim=1), edge_logits)

    return [
        compare("Lovasz-softmax", lambda: released.lovasz(edge_logits.softmax(dim=1), edge[:, 0]).backward(),
                lambda: lovasz_softmax(edge_logits.softmax(dim=1), edge[:, 0]).backward(), device, 9, 4 if device.type == "cpu" else 2,
                note="forward and backward"),
        compare("the whole loss", lambda: released.loss(output(), mask, edge).backward(), lambda: ours(output(), mask, edge).total.backward(), device, 9,
                note="edge and five regions, forward and backward"),
    ]
