"""EHANet, read top to bottom beside figure 1 of the paper.

Tang, Zhao, Pertsau, Gourinovitch, Kupryianava: "Edge-guided and hierarchical aggregation network for robust medical
image segmentation", Biomedical Signal Processing and Control 101:107202, 2025, doi 10.1016/j.bspc.2024.107202.
Module details follow what the released code computes; where the paper's figures differ, the code is the default.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ehanet.losses import EHANetLoss
from ehanet.models.blocks import conv_bn_relu, level_adapters, resize, with_dense_gradient
from ehanet.models.encoders import build_encoder
from ehanet.models.output import SegmentationOutput, check_images
from ehanet.models.pretrained import Pretrained
from ehanet.models.registry import register

WIDTHS = [32, 64, 96, 128, 160]  # channels of f1..f5, those of MobileViT-S
VARIANTS = {"released": (), "figure": ("efa", "iem", "ahfa"), "figure-efa": ("efa",), "figure-iem": ("iem",), "figure-ahfa": ("ahfa",)}


class EHANet(nn.Module, Pretrained):
    """Encoder -> EFA on each of five stages -> four AHFA from deep to shallow, IEM on the two shallow stages -> head.

    Args:
        encoder: a timm name with maps at strides 2 to 32. Any but MobileViT-S passes a 1x1 conv, BN, ReLU per level.
        pretrained: ImageNet weights through timm.
        encoder_weights: a local weights file instead.
        efa: False takes the features as they are.
        iem: False drops the edge branch; the head then works on 32 channels and ``edge`` is ``None``.
        ahfa: False takes plain concat + convs with a 1x1 side head in place of each AHFA.
        variant: "released", or where the paper's figures differ from the released code: "figure" for all of it, "figure-efa" (other convolutions
            in the gates, see :class:`FigureEFA`), "figure-iem" (the IEM takes the encoder's features before EFA), "figure-ahfa" (the gate's
            first 1x1 comes before the average) for one module alone.

    Raises:
        ValueError: an unknown variant, encoder or weights file.
    """

    def __init__(self, encoder: str = "mobilevit_s", pretrained: bool = False, encoder_weights: str | Path | None = None,
                 efa: bool = True, iem: bool = True, ahfa: bool = True, variant: str = "released"):
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"variant: {variant!r} is none of {', '.join(VARIANTS)}")
        as_drawn = VARIANTS[variant]
        self.encoder = build_encoder(encoder, pretrained, encoder_weights)
        self.adapters = level_adapters(self.encoder.channels, WIDTHS)
        attention = FigureEFA if "efa" in as_drawn else EFA
        self.efa = nn.ModuleList(attention(width) if efa else nn.Identity() for width in WIDTHS)
        block = PlainAggregation if not ahfa else FigureAHFA if "ahfa" in as_drawn else AHFA
        self.decoder = nn.ModuleList(block(skip, deep) for skip, deep in zip(WIDTHS[3::-1], WIDTHS[:0:-1]))
        self.iem = IEM(*WIDTHS[:2]) if iem else None
        self.iem_takes_encoder = "iem" in as_drawn
        self.head = Head(2 * WIDTHS[0] if iem else WIDTHS[0])

    def forward(self, images: Tensor) -> SegmentationOutput:
        """(B, 3, H, W) floating in [0, 1], H and W at least 32 -> outputs of the same H and W.

        Raises:
            TypeError, ValueError: see :func:`~ehanet.models.output.check_images`; one image while the gates' batch norms learn.
        """
        check_images(images, self)
        if self.training and images.shape[0] == 1 and any(block.needs_a_batch for block in self.decoder):  # in this order: an export in evaluation mode keeps its batch free
            raise ValueError("one image in training mode: batch norm cannot learn from it; call .eval() to predict, or give at least two")
        size = images.shape[2:]
        features = [adapt(feature) for adapt, feature in zip(self.adapters, self.encoder(images))]
        f1, f2, f3, f4, deep = [efa(feature) for efa, feature in zip(self.efa, features)]
        sides = []
        for skip, aggregate in zip((f4, f3, f2, f1), self.decoder):
            deep, side = aggregate(skip, deep)
            if side is not None:
                sides.append(resize(side, size, align_corners=True))
        full = resize(deep, size, align_corners=True)
        if self.iem is None:
            return SegmentationOutput(self.head(full), sides)
        edge_logits, edge_feature = self.iem(*(features[:2] if self.iem_takes_encoder else (f1, f2)), size)
        logits = self.head(torch.cat([full, edge_feature], dim=1))
        return SegmentationOutput(logits, sides, None if edge_logits is None else edge_logits.softmax(dim=1), edge_logits)


class EFA(nn.Module):
    """Efficient Fusion Attention: x * c(x) + x * s(x).

    c = sigmoid(Conv1d_3 over the channel axis of the global average), one value a channel;
    s = sigmoid(1x1 conv C -> 1 without bias), one value a pixel.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.channel = nn.Conv1d(1, 1, 3, padding=1)
        self.spatial = nn.Conv2d(channels, 1, 1, bias=False)

    def gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, H, W) -> channel gate (B, C, 1, 1) and spatial gate (B, 1, H, W), both in (0, 1)."""
        average = x.mean(dim=(2, 3)).unsqueeze(1)
        channel = self.channel(average).transpose(1, 2).unsqueeze(-1)
        return channel.sigmoid(), self.spatial(x).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        channel, spatial = self.gates(x)
        return x * channel + x * spatial


class FigureEFA(EFA):
    """EFA with other convolutions in its gates, a plain reading of the paper's figure, which prints no kernel sizes.

    c = sigmoid(1x1 conv C -> C of the global average), each channel from all; s = sigmoid(3x3 conv C -> 1 without bias).
    """

    def __init__(self, channels: int):
        super().__init__(channels)
        self.channel = nn.Conv2d(channels, channels, 1)
        self.spatial = nn.Conv2d(channels, 1, 3, padding=1, bias=False)

    def gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Shapes as in :class:`EFA`."""
        return self.channel(x.mean(dim=(2, 3), keepdim=True)).sigmoid(), self.spatial(x).sigmoid()


class AHFA(nn.Module):
    """Adaptive Hierarchical Feature Aggregation of a skip feature (c channels) and the deeper one.

    deep' = up(ReLU(BN(1x1 deep)));  x = [skip, deep'];  D = SE(BN(1x1 x)) + BN(3x3 ReLU(BN(3x3 x)));
    side = 1x1( ReLU(BN(1x1 D)) * g(D) ) with g = sigmoid(BN(1x1 ReLU(BN(1x1 average(D))))).

    Attributes:
        mask_only: True leaves the side output out, which a network that does nothing but predict masks has no use for.
    """

    mask_only = False

    def __init__(self, skip: int, deep: int):
        super().__init__()
        self.reduce = conv_bn_relu(deep, skip, 1)
        self.short = nn.Sequential(nn.Conv2d(2 * skip, skip, 1), nn.BatchNorm2d(skip), SqueezeExcitation(skip))
        self.long = nn.Sequential(
            nn.Conv2d(2 * skip, skip, 3, padding=1), nn.BatchNorm2d(skip), nn.ReLU(inplace=True),
            nn.Conv2d(skip, skip, 3, padding=1), nn.BatchNorm2d(skip),
        )
        self.project = conv_bn_relu(skip, skip, 1)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), conv_bn_relu(skip, skip, 1),
            nn.Conv2d(skip, skip, 1, bias=False), nn.BatchNorm2d(skip), nn.Sigmoid(),
        )
        self.side = nn.Conv2d(skip, 1, 1, bias=False)

    @property
    def needs_a_batch(self) -> bool:
        """Whether the gate's last batch norm learns: of one image it sees one pixel, which has no variance. (One that spans several GPUs sees more.)"""
        norm = self.gate[-2]
        return isinstance(norm, nn.BatchNorm2d) and norm.training

    def forward(self, skip: Tensor, deep: Tensor) -> tuple[Tensor, Tensor | None]:
        """skip (B, c, h, w), deep (B, C, h/2, w/2) -> D (B, c, h, w), side logit (B, 1, h, w) or None."""
        x = torch.cat([skip, resize(self.reduce(deep), skip.shape[2:])], dim=1)
        aggregated = self.short(x) + self.long(x)
        if self.mask_only:
            return aggregated, None
        return aggregated, self.side(self.project(aggregated) * self.gate(aggregated))


class FigureAHFA(AHFA):
    """AHFA with the gate in the order of the paper's figure: g = sigmoid(BN(1x1 average(ReLU(BN(1x1 D)))))."""

    def __init__(self, skip: int, deep: int):
        super().__init__(skip, deep)
        average, first, *rest = self.gate
        self.gate = nn.Sequential(first, average, *rest)


class PlainAggregation(nn.Module):
    """What stands in for AHFA in the ablation: concat, two 3x3 conv-BN-ReLU, and a 1x1 side head."""

    mask_only = False  # as in AHFA
    needs_a_batch = False

    def __init__(self, skip: int, deep: int):
        super().__init__()
        self.reduce = conv_bn_relu(deep, skip, 1)
        self.fuse = nn.Sequential(conv_bn_relu(2 * skip, skip, 3), conv_bn_relu(skip, skip, 3))
        self.side = nn.Conv2d(skip, 1, 1, bias=False)

    def forward(self, skip: Tensor, deep: Tensor) -> tuple[Tensor, Tensor | None]:
        """Shapes as in :class:`AHFA`."""
        aggregated = self.fuse(torch.cat([skip, resize(self.reduce(deep), skip.shape[2:])], dim=1))
        return aggregated, None if self.mask_only else self.side(aggregated)


class IEM(nn.Module):
    """Inter-layer Edge-aware Module: the edge from the two shallow stages, which still know where it is."""

    mask_only = False  # as in AHFA: True leaves the edge logits out

    def __init__(self, first: int, second: int, width: int = 32):
        super().__init__()
        self.path1 = nn.Sequential(conv_bn_relu(first, 2, 1), conv_bn_relu(2, 2, 3))
        self.path2 = nn.Sequential(conv_bn_relu(second, 2, 1), conv_bn_relu(2, 2, 3))
        self.edge_reduce = conv_bn_relu(4, 2, 1)
        self.edge_head = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2))
        self.feature_reduce = conv_bn_relu(4, width, 1)
        self.feature_head = conv_bn_relu(width, width, 1)

    def forward(self, f1: Tensor, f2: Tensor, size: torch.Size) -> tuple[Tensor | None, Tensor]:
        """f1 (B, 32, h, w), f2 (B, 64, h/2, w/2) -> edge logits (B, 2, H, W) or None, edge feature (B, 32, H, W)."""
        x = torch.cat([self.path1(f1), self.path2(resize(f2, f1.shape[2:]))], dim=1)
        edge_logits = None if self.mask_only else with_dense_gradient(self.edge_head(resize(self.edge_reduce(x), size)))
        return edge_logits, self.feature_head(resize(self.feature_reduce(x), size))


class SqueezeExcitation(nn.Module):
    """x * sigmoid(W2 ReLU(W1 average(x))), without biases and with a bottleneck of one unit, as released."""

    def __init__(self, channels: int):
        super().__init__()
        self.squeeze = nn.Linear(channels, 1, bias=False)
        self.excite = nn.Linear(1, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.excite(self.squeeze(x.mean(dim=(2, 3))).relu()).sigmoid()
        return x * weights[:, :, None, None]


class Head(nn.Sequential):
    """Two 1x1 conv-BN-ReLU of unchanged width at full size, then a 1x1 conv to the final logit; convs with bias."""

    def __init__(self, channels: int):
        super().__init__(
            nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True),
            nn.Conv2d(channels, 1, 1),
        )


@register("ehanet", loss=EHANetLoss)
def ehanet(pretrained: bool = False, encoder: str = "mobilevit_s", encoder_weights: str | Path | None = None,
           efa: bool = True, iem: bool = True, ahfa: bool = True, variant: str = "released") -> EHANet:
    """EHANet under its registered name."""
    return EHANet(encoder, pretrained, encoder_weights, efa, iem, ahfa, variant)
