"""LANet, the sibling of EHANet: same authors, same encoder, same EFA, no edge branch.

Tang, Zhao: "LANet: Lightweight Attention Network for Medical Image Segmentation", ITTA 2024. It differs from EHANet in
the decoder: skip and deep feature are added instead of concatenated, and the steps are summed as features, not as logits.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ehanet.losses import LovaszLoss
from ehanet.models.blocks import conv_bn, conv_bn_relu, level_adapters, resize
from ehanet.models.ehanet import EFA, WIDTHS, SqueezeExcitation
from ehanet.models.encoders import build_encoder
from ehanet.models.output import SegmentationOutput, check_images
from ehanet.models.registry import register

VOTE = 32  # channels of every step's vote


class LANet(nn.Module):
    """Encoder -> EFA on five stages -> four decoding steps, each with a gated 32-channel vote -> sum -> two-class head.

        d_k = AFF(skip_k + up(ReLU(BN(1x1 d_{k-1}))))          128, 96, 64, 32 channels at strides 16, 8, 4, 2
        v = vote(d_4) + up(vote(d_3) + up(vote(d_2) + up(vote(d_1))))
        z = BN(1x1(up(ReLU(BN(1x1 v)))))                        (B, 2, H, W); logits = z_1 - z_0

    The sigmoid of the difference is the second channel of the paper's softmax.

    Args:
        encoder, pretrained, encoder_weights: as in :class:`ehanet.models.EHANet`.
    """

    def __init__(self, encoder: str = "mobilevit_s", pretrained: bool = False, encoder_weights: str | Path | None = None):
        super().__init__()
        self.encoder = build_encoder(encoder, pretrained, encoder_weights)
        self.adapters = level_adapters(self.encoder.channels, WIDTHS)
        self.efa = nn.ModuleList(EFA(width) for width in WIDTHS)
        self.reduce = nn.ModuleList(conv_bn_relu(deep, skip, 1) for skip, deep in zip(WIDTHS[3::-1], WIDTHS[:0:-1]))
        self.fuse = nn.ModuleList(AdaptiveFeatureFusion(width) for width in WIDTHS[3::-1])
        self.votes = nn.ModuleList(Vote(width) for width in WIDTHS[3::-1])
        self.project = conv_bn_relu(VOTE, VOTE, 1, bias=True)
        self.head = conv_bn(VOTE, 2, 1, bias=True)

    def forward(self, images: Tensor) -> SegmentationOutput:
        """(B, 3, H, W) floating in [0, 1], H and W at least 32 -> logits (B, 1, H, W)."""
        check_images(images, self)
        features = [adapt(feature) for adapt, feature in zip(self.adapters, self.encoder(images))]
        *skips, deep = [efa(feature) for efa, feature in zip(self.efa, features)]
        votes = None
        for skip, reduce, fuse, vote in zip(reversed(skips), self.reduce, self.fuse, self.votes):
            deep = fuse(skip + resize(reduce(deep), skip.shape[2:]))
            votes = vote(deep) if votes is None else resize(votes, deep.shape[2:]) + vote(deep)
        background, target = self.head(resize(self.project(votes), images.shape[2:])).split(1, dim=1)
        return SegmentationOutput(target - background, [])


class AdaptiveFeatureFusion(nn.Module):
    """ReLU( BN(3x3 ReLU(BN(3x3 x))) + SE(BN(1x1 x)) ), the SE with a bottleneck of one unit; (B, C, h, w) unchanged."""

    def __init__(self, channels: int):
        super().__init__()
        self.long = nn.Sequential(*conv_bn_relu(channels, channels, bias=True), *conv_bn(channels, channels, bias=True))
        self.short = nn.Sequential(*conv_bn(channels, channels, 1, bias=True), SqueezeExcitation(channels))

    def forward(self, x: Tensor) -> Tensor:
        return (self.long(x) + self.short(x)).relu()


class Vote(nn.Module):
    """m = ReLU(BN(1x1 x)) with 32 channels, times sigmoid(BN(1x1 ReLU(BN(1x1 average(m)))))."""

    def __init__(self, channels: int):
        super().__init__()
        self.map = conv_bn_relu(channels, VOTE, 1)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), conv_bn_relu(VOTE, VOTE, 1), conv_bn(VOTE, VOTE, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        m = self.map(x)
        return m * self.gate(m)


@register("lanet", loss=LovaszLoss)
def lanet(pretrained: bool = False, encoder: str = "mobilevit_s", encoder_weights: str | Path | None = None) -> LANet:
    """LANet under its registered name."""
    return LANet(encoder, pretrained, encoder_weights)
