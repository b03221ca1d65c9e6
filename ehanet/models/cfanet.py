"""CFANet.

Zhou et al.: "Cross-level Feature Aggregation Network for Polyp Segmentation", Pattern Recognition 140:109555, 2023,
doi 10.1016/j.patcog.2023.109555.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ehanet.losses import StructureLoss
from ehanet.models.blocks import conv_bn, conv_bn_relu, resize
from ehanet.models.encoders import build_encoder
from ehanet.models.output import SegmentationOutput, check_images
from ehanet.models.pranet import RES2NET, UNWEIGHTED
from ehanet.models.registry import register

WIDTH = 64  # channels throughout


class CFANet(nn.Module):
    """A boundary branch from the shallow stages guides two region streams through four aggregation steps each.

    x0 is the pooled stem, x1 to x4 are the stages of Res2Net-50 at strides 4, 4, 8, 16, 32.

        boundary:  e3 = gated fusion of x0, x1 at stride 8;  e2, e1, e0 = up-convs to strides 4, 2, 1;  edge = 1x1 e0
        stream 1:  r3 = CFF(pool(x1), x2)         stream 2:  r3 = CFF(up2(x3), up4(x4))            stride 8
        each:      r_k' = BAM(r_k, e_k * channel gate(e_k));  r_{k-1} = up-conv(r_k')               to r_0' (64, H, W)
        maps:      1x1 of r_0' of stream 1, of stream 2, and of their sum

    sides are the maps of the two streams, logits that of the sum; the edge logit z becomes (0, z). Trained with BCE on
    the edge and the structure loss on the three maps. Every up is bilinear with ``align_corners=True``.

    Args:
        encoder, pretrained, encoder_weights: as in :class:`ehanet.models.EHANet`; the paper's backbone by default.
    """

    def __init__(self, encoder: str = RES2NET, pretrained: bool = False, encoder_weights: str | Path | None = None):
        super().__init__()
        self.encoder = build_encoder(encoder, pretrained, encoder_weights)
        x0, x1, x2, x3, x4 = self.encoder.channels
        self.shallow0, self.shallow1 = (conv_bn_relu(channels, WIDTH, bias=True, stride=2) for channels in (x0, x1))
        self.gates = nn.Conv2d(2 * WIDTH, 2, 1)
        self.boundary = nn.ModuleList(conv_bn_relu(WIDTH, WIDTH, bias=True) for _ in range(3))
        self.edge_head = nn.Conv2d(WIDTH, 1, 1)
        self.edge_attention = nn.ModuleList(_channel_gate() for _ in range(4))
        self.cross_level = nn.ModuleList([CrossLevelFusion(x1, x2), CrossLevelFusion(x3, x4)])
        self.streams = nn.ModuleList(Stream() for _ in range(2))
        self.heads = nn.ModuleList(nn.Conv2d(WIDTH, 1, 1) for _ in range(3))

    def forward(self, images: Tensor) -> SegmentationOutput:
        """(B, 3, H, W) floating in [0, 1], H and W at least 32 -> logits, two sides (B, 1, H, W), edge (B, 2, H, W)."""
        check_images(images, self)
        stem, x1, x2, x3, x4 = self.encoder(images)
        x0 = F.max_pool2d(stem, 3, stride=2, padding=1)
        edges = [self._fuse_shallow(self.shallow0(x0), self.shallow1(x1))]
        for up_conv, like in zip(self.boundary, (x1, stem, images)):
            edges.append(up_conv(_up(edges[-1], like)))
        guides = [edge * gate(edge) for edge, gate in zip(edges, self.edge_attention)]
        pooled = F.max_pool2d(x1, 2, ceil_mode=True)
        regions = [self.cross_level[0](pooled, x2), self.cross_level[1](_up(x3, x2), _up(x4, x2))]
        first, second = (stream(region, guides) for stream, region in zip(self.streams, regions))
        *sides, logits = (head(x) for head, x in zip(self.heads, (first, second, first + second)))
        edge_logit = self.edge_head(edges[-1])
        edge_logits = torch.cat([torch.zeros_like(edge_logit), edge_logit], dim=1)
        return SegmentationOutput(logits, sides, edge_logits.softmax(dim=1), edge_logits)

    def _fuse_shallow(self, x0: Tensor, x1: Tensor) -> Tensor:
        """Convex combination at every pixel; the two weights are a softmax of 1x1 convolutions of both."""
        weight0, weight1 = self.gates(torch.cat([x0, x1], dim=1)).softmax(dim=1).split(1, dim=1)
        return x0 * weight0 + x1 * weight1


class CrossLevelFusion(nn.Module):
    """CFF: a = BN(1x1 x_a), b = BN(1x1 x_b), 32 channels each; crossed 3x3 and 5x5 branches; sum and product.

        p = c3([a, b]),  q = c5([b, a]);   p' = c3([p, q]),  q' = c5([q, p]);   out = c3(a + b + p' q')

    with c = ReLU(BN(conv)); (B, C_a, h, w), (B, C_b, h, w) -> (B, 64, h, w).
    """

    def __init__(self, channels_a: int, channels_b: int):
        super().__init__()
        half = WIDTH // 2
        self.reduce_a, self.reduce_b = conv_bn(channels_a, half, 1), conv_bn(channels_b, half, 1)
        self.small1, self.small2 = (conv_bn_relu(WIDTH, half, 3, bias=True) for _ in range(2))
        self.large1, self.large2 = (conv_bn_relu(WIDTH, half, 5, bias=True) for _ in range(2))
        self.out = conv_bn_relu(half, WIDTH, 3, bias=True)

    def forward(self, x_a: Tensor, x_b: Tensor) -> Tensor:
        a, b = self.reduce_a(x_a), self.reduce_b(x_b)
        p, q = self.small1(torch.cat([a, b], dim=1)), self.large1(torch.cat([b, a], dim=1))
        product = self.small2(torch.cat([p, q], dim=1)) * self.large2(torch.cat([q, p], dim=1))
        return self.out(a + b + product)


class Stream(nn.Module):
    """Four boundary aggregation modules with an up-convolution between two: (B, 64, H/8, W/8) -> (B, 64, H, W)."""

    def __init__(self):
        super().__init__()
        self.aggregate = nn.ModuleList(BoundaryAggregation() for _ in range(4))
        self.up = nn.ModuleList(conv_bn_relu(WIDTH, WIDTH, bias=True) for _ in range(3))

    def forward(self, x: Tensor, guides: list[Tensor]) -> Tensor:
        x = self.aggregate[0](x, guides[0])
        for up_conv, aggregate, guide in zip(self.up, self.aggregate[1:], guides[1:]):
            x = aggregate(up_conv(_up(x, guide)), guide)
        return x


class BoundaryAggregation(nn.Module):
    """BAM: y = BN(3x3 [x, guide]);  x + y * sigmoid(BN(1x1 ReLU(BN(1x1 average(y))))), reduction 4; (B, 64, h, w)."""

    def __init__(self):
        super().__init__()
        self.merge = conv_bn(2 * WIDTH, WIDTH)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), conv_bn_relu(WIDTH, WIDTH // 4, 1, bias=True),
            conv_bn(WIDTH // 4, WIDTH, 1, bias=True), nn.Sigmoid(),
        )

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        y = self.merge(torch.cat([x, guide], dim=1))
        return x + y * self.gate(y)


def _channel_gate() -> nn.Sequential:
    """sigmoid(W2 ReLU(W1 max(x))) over the whole map, reduction 16: (B, 64, h, w) -> (B, 64, 1, 1)."""
    return nn.Sequential(
        nn.AdaptiveMaxPool2d(1), nn.Conv2d(WIDTH, WIDTH // 16, 1, bias=False), nn.ReLU(inplace=True),
        nn.Conv2d(WIDTH // 16, WIDTH, 1, bias=False), nn.Sigmoid(),
    )


def _up(x: Tensor, like: Tensor) -> Tensor:
    return resize(x, like.shape[2:], align_corners=True)


@register("cfanet", loss=StructureLoss, note=UNWEIGHTED)
def cfanet(pretrained: bool = False, encoder: str = RES2NET, encoder_weights: str | Path | None = None) -> CFANet:
    """CFANet under its registered name."""
    return CFANet(encoder, pretrained, encoder_weights)
