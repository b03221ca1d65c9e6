"""Controls: EHANet's encoder under the plain decoders of segmentation_models_pytorch, and its U-Net on ResNet-34.

They answer whether EHANet's modules or merely its encoder make the difference. Decoders and heads are the library's, with
its defaults and initial weights; encoders come from :func:`ehanet.models.encoders.build_encoder`, as everywhere here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from segmentation_models_pytorch.base import SegmentationHead
from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
from segmentation_models_pytorch.decoders.unetplusplus.decoder import UnetPlusPlusDecoder
from torch import Tensor, nn

from ehanet.models.blocks import pad_to_multiple
from ehanet.models.encoders import Encoder, build_encoder, build_expansion
from ehanet.models.output import SegmentationOutput, check_images
from ehanet.models.registry import register

DECODERS = ("unet", "unetpp", "fpn", "deeplabv3plus")


class Control(nn.Module):
    """Encoder -> library decoder -> library head.

    Two details keep it the network that the library itself would build on "tu-mobilevit_s": MobileViT's last map passes
    the network's own 1x1 expansion to 640 channels, which has the encoder's weights and is frozen with it, and under
    DeepLabV3+ the last encoder stage is dilated to stride 16. One detail is ours: FPN drops single values
    (``nn.Dropout``) where the library drops whole channels, with the same probability of 0.2.

    Args:
        decoder: one of :data:`DECODERS`.
        encoder, pretrained, encoder_weights: as in :class:`ehanet.models.EHANet`.
    """

    def __init__(self, decoder: str, encoder: str = "mobilevit_s", pretrained: bool = False,
                 encoder_weights: str | Path | None = None):
        super().__init__()
        self.encoder = build_encoder(encoder, pretrained, encoder_weights)
        channels = [3, *self.encoder.channels]  # the library counts the image as the first level
        expansion = build_expansion(encoder, pretrained, encoder_weights)
        self.encoder.expansion = nn.Identity() if expansion is None else expansion
        if expansion is not None:
            channels[-1] = expansion.out_channels
        if decoder == "deeplabv3plus":
            dilate_last_level(self.encoder)
        self.decoder, self.head = _decoder_and_head(decoder, channels)
        initialize_decoder(self.decoder)
        initialize_head(self.head)

    def forward(self, images: Tensor) -> SegmentationOutput:
        """(B, 3, H, W) floating in [0, 1], H and W at least 32 -> logits (B, 1, H, W)."""
        check_images(images, self)
        height, width = images.shape[2:]
        padded = pad_to_multiple(images, 32)
        *shallow, deep = self.encoder(padded)
        logits = self.head(self.decoder([padded, *shallow, self.encoder.expansion(deep)]))
        return SegmentationOutput(logits[..., :height, :width], [])


def _decoder_and_head(decoder: str, channels: list[int]) -> tuple[nn.Module, nn.Module]:
    """The library's decoder and head with the defaults of its ``Unet``, ``UnetPlusPlus``, ``FPN``, ``DeepLabV3Plus``."""
    if decoder in ("unet", "unetpp"):
        build = UnetDecoder if decoder == "unet" else UnetPlusPlusDecoder
        return build(channels, [256, 128, 64, 32, 16]), SegmentationHead(16, 1, kernel_size=3)
    if decoder == "fpn":
        fpn = FPNDecoder(channels)
        fpn.dropout = nn.Dropout(fpn.dropout.p)
        return fpn, SegmentationHead(fpn.out_channels, 1, kernel_size=1, upsampling=4)
    if decoder == "deeplabv3plus":
        deeplab = DeepLabV3PlusDecoder(channels, encoder_depth=5, out_channels=256, atrous_rates=(12, 24, 36),
                                       output_stride=16, aspp_separable=True, aspp_dropout=0.5)
        return deeplab, SegmentationHead(256, 1, kernel_size=1, upsampling=4)
    raise ValueError(f"unknown decoder {decoder!r}; known: {', '.join(DECODERS)}")


def dilate_last_level(encoder: Encoder) -> None:
    """Bring the last map from stride 32 to 16, in place: its convolutions and poolings lose their stride, and the convolutions are dilated by two.

    What belongs to the last level is seen on an image of 64 x 64: it is what puts out maps of 2 x 2. A pooling whose windows do not overlap has nothing
    left to do, and does nothing.

    Raises:
        ValueError: the level also reduces by other means (patch merging, branches at several strides).
    """
    found: list[nn.Module] = []
    hooks = [module.register_forward_hook(lambda layer, inputs, output: found.append(layer) if output.shape[-1] == 2 else None)
             for module in encoder.modules() if isinstance(module, (nn.Conv2d, nn.AvgPool2d, nn.MaxPool2d))]
    size = _last_size(encoder)
    for hook in hooks:
        hook.remove()
    for layer in found:
        if isinstance(layer, nn.Conv2d):
            if layer.kernel_size != (1, 1):
                if layer.padding != (0, 0):  # zero where timm pads by itself, as TensorFlow does
                    layer.padding = tuple(2 * padding for padding in layer.padding)
                layer.dilation = tuple(2 * dilation for dilation in layer.dilation)
        elif layer.kernel_size == layer.stride:
            layer.kernel_size = (1, 1)
        layer.stride = (1, 1)
    try:
        dilated = _last_size(encoder) == 2 * size
    except RuntimeError:  # the branches of a residual unit no longer meet
        dilated = False
    if not dilated:
        raise ValueError(f"encoder {encoder.name!r}: its last stage cannot be dilated to stride 16, which DeepLabV3+ needs; "
                         "take another decoder or encoder")


@torch.no_grad()
def _last_size(encoder: Encoder) -> int:
    training = encoder.training
    size = encoder.eval()(torch.zeros(1, 3, 64, 64))[-1].shape[-1]
    encoder.train(training)
    return size


def _builder(decoder: str, default: str) -> Callable[..., Control]:
    def control(pretrained: bool = False, encoder: str = default, encoder_weights: str | Path | None = None) -> Control:
        return Control(decoder, encoder, pretrained, encoder_weights)

    return control


for _decoder in DECODERS:
    register(f"mobilevit-{_decoder}", note="spatial dropout of the library taken as plain dropout" if _decoder == "fpn" else "")(
        _builder(_decoder, "mobilevit_s"))
register("resnet34-unet")(_builder("unet", "resnet34"))
