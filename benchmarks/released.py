"""The plain released way, the baseline of every ratio: float32, contiguous layout, eager, a sort for each class, images decoded in every epoch.

Rebuilt from the description of the released code. It stays as it is once figures measured against it are published; the network itself is the
package's, which is written as plainly as the paper draws it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn


def lovasz(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Lovasz-softmax, each class sorted by itself; (B, C, H, W), (B, H, W) -> loss."""
    losses = []
    for index in range(probabilities.shape[1]):
        truth = (labels == index).flatten().float()
        if truth.sum() == 0:
            continue
        errors, order = torch.sort((truth - probabilities[:, index].flatten()).abs(), descending=True)
        truth = truth[order]
        jaccard = 1 - (truth.sum() - truth.cumsum(0)) / (truth.sum() + (1 - truth).cumsum(0))
        losses.append(torch.dot(errors, torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])))
    return torch.stack(losses).mean()


def region(logits: Tensor, mask: Tensor) -> Tensor:
    """Half binary cross-entropy, half Dice loss over the batch."""
    probability = torch.sigmoid(logits)
    dice = 1 - (2 * (probability * mask).sum() + 1) / (probability.sum() + mask.sum() + 1)
    return 0.5 * F.binary_cross_entropy_with_logits(logits, mask) + 0.5 * dice


def loss(out, mask: Tensor, edge: Tensor) -> Tensor:
    """Edge and five region terms, all with weight one; without an edge branch the regions alone."""
    total = sum(region(logits, mask) for logits in (*out.sides, out.logits))
    return total if out.edge is None else total + lovasz(out.edge, edge[:, 0])


class Released:
    """A network and its optimizer as the released loop uses them."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.optimizer = torch.optim.Adam([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-4)

    def step(self, images: Tensor, masks: Tensor, edges: Tensor) -> float:
        """One optimizer step; (B, 3, H, W), (B, 1, H, W), (B, 1, H, W)."""
        self.model.train()
        self.optimizer.zero_grad()
        value = loss(self.model(images), masks, edges)
        value.backward()
        self.optimizer.step()
        return value.item()

    def epoch(self, files: list[tuple[Path, Path, Path]], size: int, batch_size: int, random: np.random.Generator) -> None:
        """Decode, augment and train on every image, one after another."""
        order, device = random.permutation(len(files)), next(self.model.parameters()).device
        for start in range(0, len(order), batch_size):
            self.step(*(part.to(device) for part in load([files[index] for index in order[start:start + batch_size]], size, random)))


def load(files: list[tuple[Path, Path, Path]], size: int, random: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Image, mask and edge files, decoded, augmented at the original resolution (turn and flips, each with probability 0.3), resized."""
    batch = []
    for paths in files:
        image, mask, edge = (Image.open(path).convert(mode) for path, mode in zip(paths, ("RGB", "L", "L")))
        pictures = [image, mask]  # the edge file is not augmented
        if random.random() < 0.3:
            angle = random.uniform(-35, 35)
            pictures = [picture.rotate(angle, Image.Resampling.BILINEAR) for picture in pictures]
        for flip in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM):
            if random.random() < 0.3:
                pictures = [picture.transpose(flip) for picture in pictures]
        batch.append([np.asarray(picture.resize((size, size), Image.Resampling.BILINEAR), np.float32) / 255 for picture in (*pictures, edge)])
    images, masks, edges = (torch.from_numpy(np.stack(arrays)) for arrays in zip(*batch))
    return images.permute(0, 3, 1, 2).contiguous(), masks[:, None], (edges[:, None] == 1).float()
