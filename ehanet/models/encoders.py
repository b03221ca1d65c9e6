"""Encoders from timm that give five feature maps at strides 2, 4, 8, 16 and 32."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from ehanet.config import find_weights
from ehanet.files import file_sha256
from ehanet.models.weight_names import from_apple, from_efficientnet_pytorch, is_apple, is_efficientnet_pytorch

STRIDES = [2, 4, 8, 16, 32]
KERAS_MOBILENET = "mobilenetv1_100.keras"


class Encoder(nn.Module):
    """Five feature maps of a timm network.

    Attributes:
        name: what :func:`build_encoder` must be given to build this layout again without a weights file.
        channels: channels of the five maps.
        initialisation: where the weights come from: "random", "timm ImageNet weights" or the file's name.
        weights_sha256: hash of that file, or None.
    """

    def __init__(self, name: str, net: nn.Module, channels: list[int], mean, std, weights: Path | None, pretrained: bool):
        super().__init__()
        self.name, self.channels = name, list(channels)
        self.initialisation = weights.name if weights else "timm ImageNet weights" if pretrained else "random"
        self.weights_sha256 = file_sha256(weights) if weights else None
        self.net = net
        self.normalise = any(mean) or any(value != 1 for value in std)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [0, 1] -> five maps (B, channels[i], ceil(H / 2^(i+1)), ceil(W / 2^(i+1)))."""
        if self.normalise:
            images = (images - self.mean.to(images.dtype)) / self.std.to(images.dtype)
        return self.net(images)


class _MobileViTStages(nn.Module):
    """timm's MobileViT up to its last stage; ``features_only`` would give the 640-channel expansion instead."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.stem, self.stages = model.stem, model.stages

    def forward(self, images: Tensor) -> list[Tensor]:
        features, x = [], self.stem(images)
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def build_encoder(name: str = "mobilevit_s", pretrained: bool = False, weights: str | Path | None = None) -> Encoder:
    """Build a timm network as an encoder with maps at strides 2, 4, 8, 16, 32.

    Args:
        name: a timm model name, or ``mobilenetv1_100.keras``: MobileNetV1 as Google trained it with TensorFlow
            (padding "same", batch-norm eps 1e-3, without the last block, which no feature map needs).
        pretrained: timm's ImageNet weights.
        weights: a local file (.safetensors, .pth, .pt) in timm's names; for MobileViT also in Apple's names, whose
            BGR input is turned to RGB, for ``tf_efficientnet_*`` also in those of the package efficientnet_pytorch. A MobileNetV1 file without the last block
            gets the Keras layout. Where a relative path is looked for: :func:`ehanet.config.find_weights`.

    Raises:
        ValueError: unknown name, maps at other strides, a file that does not fit, or no weights to be had.
        FileNotFoundError: ``weights`` does not exist.
    """
    if pretrained and weights is not None:
        raise ValueError("pretrained and encoder_weights exclude each other: set pretrained=False to use the file")
    weights = None if weights is None else find_weights(weights)
    state = None if weights is None else _read_weights(weights)
    name = name if state is None else _layout(name, state)
    net, configuration = _create(name, pretrained)
    if name.startswith("mobilevit_"):
        channels = [stage[-1].conv_fusion.out_channels if hasattr(stage[-1], "conv_fusion") else
                    stage[-1].conv3_1x1.conv.out_channels for stage in net.stages]
        _released_dropout(net)
        net = _MobileViTStages(net)
    else:
        reductions = net.feature_info.reduction()
        if reductions != STRIDES and set(STRIDES) <= set(reductions):  # further maps, at stride 1 for instance: the last of each stride is taken
            net, _ = _create(name, pretrained, out_indices=[len(reductions) - 1 - reductions[::-1].index(stride) for stride in STRIDES])
            reductions = net.feature_info.reduction()
        if reductions != STRIDES:
            raise ValueError(f"encoder {name!r} has feature maps at strides {reductions}; EHANet needs {STRIDES}")
        channels = net.feature_info.channels()
        if name == KERAS_MOBILENET:
            net.blocks[4] = net.blocks[4][:1]
    if state is not None:
        _fill(net, state, name, weights)
    return Encoder(name, net, channels, configuration["mean"], configuration["std"], weights, pretrained)


def build_expansion(name: str = "mobilevit_s", pretrained: bool = False, weights: str | Path | None = None) -> nn.Module | None:
    """MobileViT's 1x1 convolution to 640 channels behind its last stage, which :class:`Encoder` leaves out; None for other networks.

    Args and errors are those of :func:`build_encoder`; the file must hold the expansion, too.
    """
    if not name.startswith("mobilevit_"):
        return None
    net = _create(name, pretrained)[0].final_conv
    if weights is not None:
        path = find_weights(weights)
        _fill(net, {key.removeprefix("final_conv."): value for key, value in _read_weights(path).items() if key.startswith("final_conv.")}, f"{name}'s final_conv", path)
    return net


def zero_init(encoder: nn.Module | None) -> None:
    """Let each MobileViT block begin as its convolutions alone, in place: the batch norm behind its transformers gets the scale 0.

    So ``zero_init_residual`` of torchvision's ResNets lets them begin with their shortcuts alone (Goyal et al. 2017, arXiv:1706.02677). The transformers then
    enter as far as training asks for them.

    Raises:
        ValueError: ``encoder`` is no MobileViT, or has trained weights, which this would spoil.
    """
    norms = [block.conv_proj.bn for block in encoder.modules() if hasattr(block, "conv_proj")] if encoder is not None else []
    if not norms or encoder.initialisation != "random":
        raise ValueError("zero_init: only a MobileViT that starts from random weights can begin so; leave it out")
    for norm in norms:
        nn.init.zeros_(norm.weight)


def encoder_layout(name: str, weights: str | Path | None) -> str:
    """The encoder that :func:`build_encoder` builds of ``name`` for a weights file, so that it can be built again without the file."""
    return name if weights is None else _layout(name, _read_weights(find_weights(weights)))


def _layout(name: str, state: dict[str, Tensor]) -> str:
    return KERAS_MOBILENET if name == "mobilenetv1_100" and "blocks.4.1.conv_pw.weight" not in state else name


def _create(name: str, pretrained: bool, **further) -> tuple[nn.Module, dict]:
    options = {} if name.startswith("mobilevit_") else {"features_only": True, **further}
    model_name = name
    if name == KERAS_MOBILENET:
        if pretrained:
            raise ValueError(f"encoder {name!r}: timm has no weights in this layout; give encoder_weights=FILE")
        model_name, options = "mobilenetv1_100", {"features_only": True, "bn_eps": 1e-3, "pad_type": "same"}
    if not timm.is_model(model_name):
        raise ValueError(f"unknown encoder {name!r}: not a timm model name (timm.list_models() lists them)")
    try:
        net = timm.create_model(model_name, pretrained=pretrained, **options)
    except Exception as error:
        if not pretrained:
            raise ValueError(f"encoder {name!r} cannot be built with feature maps: {error}") from error
        raise ValueError(
            f"ImageNet weights of {name!r} could not be loaded ({' '.join(str(error).split())[:150] or type(error).__name__}): with no network and"
            " no cached file give encoder_weights=FILE (timm's names), or pretrained=False to start from random weights"
        ) from error
    return net, timm.get_pretrained_cfg(model_name).to_dict()


def _released_dropout(net: nn.Module) -> None:
    """The released network drops 0.1 after the attention projection and after the second MLP layer; timm's default is 0."""
    for module in net.modules():
        if hasattr(module, "proj_drop"):
            module.proj_drop.p = 0.1
        if hasattr(module, "drop2"):
            module.drop2.p = 0.1


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"encoder weights {path}: not a readable weights file ({type(error).__name__})") from error
    if not isinstance(state, dict):
        raise ValueError(f"encoder weights {path}: holds a {type(state).__name__}, not tensors by name; give a state dict")
    state = state.get("state_dict", state)
    return from_apple(state) if is_apple(state) else state


def _fill(net: nn.Module, state: dict[str, Tensor], name: str, path: Path) -> None:
    """Copy the tensors that ``net`` has, an EfficientNet's in timm's names or others; classifier and expansion in the file are passed over, anything missing is an error."""
    own = net.state_dict()
    if is_efficientnet_pytorch(state):
        if not name.startswith("tf_efficientnet"):
            raise ValueError(f"encoder weights {path}: trained with TensorFlow's padding; the encoder must be one of timm's tf_efficientnet_*, got {name!r}")
        state = from_efficientnet_pytorch(state, list(own))
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    if missing:
        raise ValueError(f"encoder weights {path}: no tensor {missing[0]!r} ({len(missing)} missing); not a file for {name!r}")
    wrong = [key for key in own if key in state and own[key].shape != state[key].shape]
    if wrong:
        raise ValueError(f"encoder weights {path}: {wrong[0]!r} has shape {tuple(state[wrong[0]].shape)}, "
                         f"{name!r} needs {tuple(own[wrong[0]].shape)}")
    net.load_state_dict({key: state.get(key, value) for key, value in own.items()})
