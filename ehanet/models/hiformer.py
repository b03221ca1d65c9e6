"""HiFormer-B.

Heidari et al.: "HiFormer: Hierarchical Multi-scale Representations Using Transformers for Medical Image Segmentation",
WACV 2023, doi 10.1109/WACV56688.2023.00614.
"""

from __future__ import annotations

from collections.abc import Iterable

import timm
import torch
import torch.nn.functional as F
from timm.layers import Mlp, trunc_normal_
from torch import Tensor, nn

from ehanet.losses import LogitLoss
from ehanet.models.blocks import resize
from ehanet.models.encoders import build_encoder
from ehanet.models.output import SegmentationOutput, check_images
from ehanet.models.registry import register

CNN, SWIN = "resnet50.tv_in1k", "swin_tiny_patch4_window7_224"
FINE, MIDDLE, COARSE = 96, 192, 384  # channels of Swin-T at strides 4, 8, 16
GRIDS = {FINE: 56, COARSE: 14}  # tokens a side at 224 x 224, the size the position embeddings are learned for


class HiFormer(nn.Module):
    """A CNN feeds three Swin stages; their 1/4 and 1/16 levels exchange class tokens and are decoded together.

    Backbones: c1, c2, c3 = 1x1 of ResNet-50's layers 1 to 3 (96, 192, 384 channels at strides 4, 8, 16);

        t1 = c1 + swin1(c1);  t2 = c2 + swin2(merge(t1));  t3 = c3 + swin3(merge(t2))

    Double-level fusion of t1 and t3, each flattened, with the mean of its layer-normed tokens as class token and a
    learned position embedding: the class token looks at the other level's patches (:class:`ClassTokenExchange`), then
    at its own level's in 1 (t1, 6 heads) or 2 (t3, 12 heads) blocks of MLP ratio 2 (:class:`ClassTokenBlock`); it is
    added to the patches, then a layer norm.
    Decoder: t3 by two (3x3 to 128, GroupNorm 32, ReLU, x2), t1 by one without x2, their sum, 1x1 to 16, ReLU, x4, 3x3.

    One choice differs. The paper draws self-attention of all tokens as these blocks and drops the class token before the
    decoder. The authors' code computes them (2.6 GMAC more) but passes on what came before, so that no parameter of
    the fusion is ever trained, and the published cost leaves them out. Here the class token alone attends and is then
    added: the same parameters, all of them used, at the published cost.

    Any size: the CNN rounds up, patch merging and the windows of 7 x 7 pad inside, position embeddings are resized.
    Stochastic depth, 0.1 in the authors' Swin stages, is off: dropout here is ``nn.Dropout`` only. The authors' code loads ImageNet
    weights into the Swin stages and then draws all their linear layers and norms anew; with ``pretrained`` ours keep them.
    """

    def __init__(self, pretrained: bool = False):
        super().__init__()
        self.encoder = Backbones(pretrained)
        self.to_swin = nn.ModuleList(nn.Conv2d(before, after, 1) for before, after in zip(self.encoder.cnn.channels[1:4], (FINE, MIDDLE, COARSE)))
        self.class_norm = nn.ModuleList(nn.LayerNorm(width) for width in GRIDS)
        self.position = nn.ParameterList(
            trunc_normal_(torch.zeros(1, 1 + side * side, width), std=0.02) for width, side in GRIDS.items()
        )
        self.exchange = nn.ModuleList([ClassTokenExchange(FINE, COARSE, 12), ClassTokenExchange(COARSE, FINE, 6)])
        self.blocks = nn.ModuleList(
            nn.Sequential(*(ClassTokenBlock(width, heads) for _ in range(depth)))
            for width, heads, depth in ((FINE, 6, 1), (COARSE, 12, 2))
        )
        self.norm = nn.ModuleList(nn.LayerNorm(width) for width in GRIDS)
        self.decode_fine = _conv_norm(FINE, 128)
        self.decode_coarse = nn.ModuleList([_conv_norm(COARSE, 128), _conv_norm(128, 128)])
        self.project = nn.Sequential(nn.Conv2d(128, 16, 1), nn.ReLU(inplace=True))
        self.head = nn.Conv2d(16, 1, 3, padding=1)
        for module in [*self.exchange.modules(), *self.blocks.modules()]:
            if isinstance(module, nn.Linear):
                trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> SegmentationOutput:
        """(B, 3, H, W) floating in [0, 1], H and W at least 32 -> logits (B, 1, H, W)."""
        check_images(images, self)
        fine, middle, coarse = self.encoder(images, self.to_swin)
        fine, coarse = self._fuse(fine, coarse)
        for convs, like in zip(self.decode_coarse, (middle, fine)):
            coarse = resize(convs(coarse), like.shape[2:])
        x = self.project(self.decode_fine(fine) + coarse)
        return SegmentationOutput(self.head(resize(x, images.shape[2:])), [])

    def _fuse(self, *levels: Tensor) -> list[Tensor]:
        """The double-level fusion: (B, 96, h, w) and (B, 384, h/4, w/4), as they came but for their content."""
        tokens = [level.flatten(2).transpose(1, 2) for level in levels]
        tokens = [torch.cat([norm(x).mean(dim=1, keepdim=True), x], dim=1) for norm, x in zip(self.class_norm, tokens)]
        tokens = [x + _resized(position, level.shape[2:]) for x, position, level in zip(tokens, self.position, levels)]
        exchanged = [exchange(own, other) for exchange, own, other in zip(self.exchange, tokens, reversed(tokens))]
        attended = [blocks(x) for blocks, x in zip(self.blocks, exchanged)]
        fused = [norm(x[:, 1:] + x[:, :1]) for norm, x in zip(self.norm, attended)]
        return [x.transpose(1, 2).reshape(level.shape) for x, level in zip(fused, levels)]


class Backbones(nn.Module):
    """ResNet-50 to layer 3 and Swin-T to stage 3, which has no patch embedding: the CNN's features take its place.

    Attributes:
        initialisation: where the weights of both come from, as in :class:`ehanet.models.encoders.Encoder`.
    """

    def __init__(self, pretrained: bool):
        super().__init__()
        self.cnn = build_encoder(CNN, pretrained)
        del self.cnn.net["layer4"]
        self.initialisation = self.cnn.initialisation
        self.swin = _swin_stages(pretrained)

    def forward(self, images: Tensor, to_swin: Iterable[nn.Module]) -> list[Tensor]:
        """(B, 3, H, W) -> t1, t2, t3: 96, 192, 384 channels at strides 4, 8, 16.

        Args:
            to_swin: brings each level of the CNN to Swin's channels; not of the backbones, since no ImageNet weights are theirs, so never frozen with them.
        """
        _, *features = self.cnn(images)
        levels, x = [], None
        for feature, widen, stage in zip(features, to_swin, self.swin):
            c = widen(feature).permute(0, 2, 3, 1)
            x = c + stage.blocks(c if x is None else stage.downsample(x))
            levels.append(x.permute(0, 3, 1, 2))
        return levels


class ClassTokenExchange(nn.Module):
    """Cross-attention of one level's class token over the other level's patch tokens (CrossViT, ICCV 2021).

    q = Linear(GELU(LN(own class token)));  y = q + MHA(query LN(q), keys and values LN([q, other's patches]));
    the class token becomes Linear(GELU(LN(y))), of the own width again.
    """

    def __init__(self, own: int, other: int, heads: int):
        super().__init__()
        self.there = nn.Sequential(nn.LayerNorm(own), nn.GELU(), nn.Linear(own, other))
        self.norm = nn.LayerNorm(other)
        self.attention = nn.MultiheadAttention(other, heads, batch_first=True)
        self.back = nn.Sequential(nn.LayerNorm(other), nn.GELU(), nn.Linear(other, own))

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        """own (B, 1 + n, C), other (B, 1 + m, D) -> own with a new class token."""
        query = self.there(own[:, :1])
        keys = self.norm(torch.cat([query, other[:, 1:]], dim=1))
        query = query + self.attention(keys[:, :1], keys, keys, need_weights=False)[0]
        return torch.cat([self.back(query), own[:, 1:]], dim=1)


class ClassTokenBlock(nn.Module):
    """A transformer block that updates the class token alone: c + MHA(LN(c), LN([c, patches])), then c + MLP(LN(c))."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = Mlp(width, 2 * width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, 1 + n, C) -> the same with a new class token."""
        keys = self.norm1(tokens)
        token = tokens[:, :1] + self.attention(keys[:, :1], keys, keys, need_weights=False)[0]
        token = token + self.mlp(self.norm2(token))
        return torch.cat([token, tokens[:, 1:]], dim=1)


def _swin_stages(pretrained: bool) -> nn.ModuleList:
    """timm's first three Swin-T stages for any input size, without stochastic depth."""
    try:
        swin = timm.create_model(SWIN, pretrained=pretrained, strict_img_size=False, drop_path_rate=0.0)
    except Exception as error:
        raise ValueError(f"ImageNet weights of {SWIN!r} could not be loaded ({type(error).__name__}): with no network and no "
                         "cached file take pretrained=False to start from random weights") from error
    return nn.ModuleList(swin.layers[:3])


def _resized(position: Tensor, size: torch.Size) -> Tensor:
    """Position embedding (1, 1 + side^2, C), class token first, for a grid of ``size``."""
    side = round((position.shape[1] - 1) ** 0.5)
    if tuple(size) == (side, side):
        return position
    grid = position[:, 1:].transpose(1, 2).unflatten(2, (side, side))
    grid = F.interpolate(grid, size, mode="bilinear", align_corners=False).flatten(2).transpose(1, 2)
    return torch.cat([position[:, :1], grid], dim=1)


def _conv_norm(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.GroupNorm(32, width), nn.ReLU())


class HiFormerLoss(LogitLoss):
    """0.4 cross-entropy + 0.6 Dice of the authors' training, of two classes whose softmax is the sigmoid of the logit.

    Dice of one class, sums over the batch: 1 - (2 sum(p y) + 1e-5) / (sum p^2 + sum y^2 + 1e-5); the mean of object and background.
    """

    @staticmethod
    def region(logits: Tensor, mask: Tensor) -> Tensor:
        target = mask.to(logits.dtype)
        dice = [1 - (2 * (p * y).sum() + 1e-5) / (p.square().sum() + y.square().sum() + 1e-5)
                for p, y in ((logits.sigmoid(), target), ((-logits).sigmoid(), 1 - target))]
        return 0.4 * F.binary_cross_entropy_with_logits(logits, target) + 0.6 * torch.stack(dice).mean()


@register("hiformer-b", loss=HiFormerLoss, note="fusion blocks attend from the class token, which is added to the patches; stochastic depth off; "
                                                "pretrained Swin stages keep their weights, which the authors' code draws anew")
def hiformer_b(pretrained: bool = False) -> HiFormer:
    """HiFormer-B under its registered name, on ResNet-50 and Swin-T."""
    return HiFormer(pretrained)
