"""PraNet.

Fan et al.: "PraNet: Parallel Reverse Attention Network for Polyp Segmentation", MICCAI 2020,
doi 10.1007/978-3-030-59725-2_26.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ehanet.losses import StructureLoss
from ehanet.models.blocks import conv_bn, resize
from ehanet.models.encoders import build_encoder
from ehanet.models.output import SegmentationOutput, check_images
from ehanet.models.registry import register

RES2NET = "res2net50d"  # timm's name of Res2Net-50 v1b 26w 4s: deep stem, average-pooled shortcuts; without weights timm begins each block's last batch norm at 0
REDUCED = 32
UNWEIGHTED = "BCE of its structure loss not weighted, as in the authors' code; the paper weighs it"


class PraNet(nn.Module):
    """Stages 2 to 4 of Res2Net-50 -> a global map from the deep features -> refined by what it left out.

        g = PD(RFB(f2), RFB(f3), RFB(f4))                          (B, 1, H/8, W/8)
        s4 = R4(f4 * (1 - sigmoid(down(g)))) + down(g)             (B, 1, H/32, W/32)
        s3 = R3(f3 * (1 - sigmoid(up(s4)))) + up(s4)               (B, 1, H/16, W/16)
        s2 = R2(f2 * (1 - sigmoid(up(s3)))) + up(s3)               (B, 1, H/8, W/8)

    All four are upsampled to the input's size: sides g, s4, s3; logits s2. Convolutions named ``conv_bn`` have no ReLU:
    the authors' block holds one but never applies it. R4 is 1x1 -> 256, three 5x5, 1x1 -> 1; R3 and R2 are 1x1 -> 64,
    two 3x3, 3x3 -> 1. Trained with the structure loss on all four maps.

    Args:
        encoder, pretrained, encoder_weights: as in :class:`ehanet.models.EHANet`; the paper's backbone by default.
    """

    def __init__(self, encoder: str = RES2NET, pretrained: bool = False, encoder_weights: str | Path | None = None):
        super().__init__()
        self.encoder = build_encoder(encoder, pretrained, encoder_weights)
        deep = self.encoder.channels[2:]
        self.reduce = nn.ModuleList(ReceptiveField(channels, REDUCED) for channels in deep)
        self.partial_decoder = PartialDecoder(REDUCED)
        self.reverse2 = ReverseAttention(deep[0], 64, kernel=3, layers=2, last=3)
        self.reverse3 = ReverseAttention(deep[1], 64, kernel=3, layers=2, last=3)
        self.reverse4 = ReverseAttention(deep[2], 256, kernel=5, layers=3, last=1)

    def forward(self, images: Tensor) -> SegmentationOutput:
        """(B, 3, H, W) floating in [0, 1], H and W at least 32 -> logits and three sides (B, 1, H, W)."""
        check_images(images, self)
        features = self.encoder(images)[2:]
        upper = self.partial_decoder(*(reduce(feature) for reduce, feature in zip(self.reduce, features)))
        maps = [upper]
        for reverse, feature in zip((self.reverse4, self.reverse3, self.reverse2), reversed(features)):
            upper = reverse(feature, resize(upper, feature.shape[2:]))
            maps.append(upper)
        *sides, logits = (resize(logit, images.shape[2:]) for logit in maps)
        return SegmentationOutput(logits, sides)


class ReceptiveField(nn.Module):
    """RFB: ReLU( 3x3 of four branches + 1x1 x ); branch k is a 1x1, then 1xk, kx1 and a 3x3 dilated by k, k = 3, 5, 7."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.branches = nn.ModuleList([conv_bn(channels, width, 1)])
        for kernel in (3, 5, 7):
            self.branches.append(nn.Sequential(
                conv_bn(channels, width, 1), conv_bn(width, width, (1, kernel)), conv_bn(width, width, (kernel, 1)),
                conv_bn(width, width, 3, dilation=kernel),
            ))
        self.merge = conv_bn(4 * width, width)
        self.skip = conv_bn(channels, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, width, h, w)."""
        return (self.merge(torch.cat([branch(x) for branch in self.branches], dim=1)) + self.skip(x)).relu()


class PartialDecoder(nn.Module):
    """The parallel partial decoder: each shallower feature is multiplied by the deeper ones, then all are concatenated."""

    def __init__(self, width: int):
        super().__init__()
        self.f4_on_f3, self.f4_on_f2, self.f3_on_f2 = (conv_bn(width, width) for _ in range(3))
        self.f4_up, self.f43_up = conv_bn(width, width), conv_bn(2 * width, 2 * width)
        self.join43, self.join432 = conv_bn(2 * width, 2 * width), conv_bn(3 * width, 3 * width)
        self.head = nn.Sequential(conv_bn(3 * width, 3 * width), nn.Conv2d(3 * width, 1, 1))

    def forward(self, f2: Tensor, f3: Tensor, f4: Tensor) -> Tensor:
        """Features of one width at strides 8, 16, 32 -> global map (B, 1, H/8, W/8)."""
        def up(x: Tensor, like: Tensor) -> Tensor:
            return resize(x, like.shape[2:], align_corners=True)

        product3 = self.f4_on_f3(up(f4, f3)) * f3
        product2 = self.f4_on_f2(up(up(f4, f3), f2)) * self.f3_on_f2(up(f3, f2)) * f2
        joined = self.join43(torch.cat([product3, self.f4_up(up(f4, f3))], dim=1))
        return self.head(self.join432(torch.cat([product2, self.f43_up(up(joined, f2))], dim=1)))


class ReverseAttention(nn.Module):
    """What the upper map left out: R(x * (1 - sigmoid(upper))) + upper; x (B, C, h, w), upper (B, 1, h, w) -> as upper."""

    def __init__(self, channels: int, width: int, kernel: int, layers: int, last: int):
        super().__init__()
        self.reduce = conv_bn(channels, width, 1)
        self.refine = nn.Sequential(*(nn.Sequential(conv_bn(width, width, kernel), nn.ReLU()) for _ in range(layers)))
        self.head = conv_bn(width, 1, last)

    def forward(self, x: Tensor, upper: Tensor) -> Tensor:
        return self.head(self.refine(self.reduce(x * (1 - upper.sigmoid())))) + upper


@register("pranet", loss=StructureLoss, note=UNWEIGHTED)
def pranet(pretrained: bool = False, encoder: str = RES2NET, encoder_weights: str | Path | None = None) -> PraNet:
    """PraNet under its registered name."""
    return PraNet(encoder, pretrained, encoder_weights)
