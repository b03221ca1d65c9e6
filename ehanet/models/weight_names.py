"""Names of pretrained tensors elsewhere, turned into timm's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

_APPLE = [
    (r"^encoder\.", ""),
    (r"^conv_1\.block\.", "stem."),
    (r"^conv_1x1_exp\.block\.", "final_conv."),
    (r"^classifier\.", "head."),
    (r"^layer_(\d)\.", lambda m: f"stages.{int(m[1]) - 1}."),
    (r"\.block\.exp_1x1\.block\.", ".conv1_1x1."),
    (r"\.block\.conv_3x3\.block\.", ".conv2_kxk."),
    (r"\.block\.red_1x1\.block\.", ".conv3_1x1."),
    (r"\.local_rep\.conv_3x3\.block\.", ".conv_kxk."),
    (r"\.local_rep\.conv_1x1\.block\.conv\.", ".conv_1x1."),
    (r"\.global_rep\.(\d)\.pre_norm_mha\.0\.", r".transformer.\1.norm1."),
    (r"\.global_rep\.(\d)\.pre_norm_mha\.1\.qkv_proj\.", r".transformer.\1.attn.qkv."),
    (r"\.global_rep\.(\d)\.pre_norm_mha\.1\.out_proj\.", r".transformer.\1.attn.proj."),
    (r"\.global_rep\.(\d)\.pre_norm_ffn\.0\.", r".transformer.\1.norm2."),
    (r"\.global_rep\.(\d)\.pre_norm_ffn\.1\.", r".transformer.\1.mlp.fc1."),
    (r"\.global_rep\.(\d)\.pre_norm_ffn\.4\.", r".transformer.\1.mlp.fc2."),
    (r"\.global_rep\.\d\.(weight|bias)$", r".norm.\1"),
    (r"\.conv_proj\.block\.", ".conv_proj."),
    (r"\.fusion\.block\.", ".conv_fusion."),
]

# Blocks that begin with a 1x1 convolution to more channels, and those that do without.
_EXPANDED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}
_SEPARABLE = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_EXCITATION = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
_AROUND = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}


def is_apple(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has Apple's names of a MobileViT, which the authors' network has as well."""
    return any("exp_1x1" in key for key in state)


def from_apple(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A MobileViT's state dict in timm's names, its first convolution for RGB: Apple trained on BGR."""
    state = {timm_name(key): value for key, value in state.items()}
    return state | {key: state[key].flip(1) for key in ("stem.conv.weight",) if key in state}  # where it is missing, filling the network says so


def timm_name(apple_name: str) -> str:
    """timm's name of a MobileViT tensor in Apple's (and the authors') naming, e.g. ``encoder.conv_1.block.conv.weight``."""
    name = apple_name
    for pattern, replacement in _APPLE:
        name = re.sub(pattern, replacement, name)
    # Apple calls batch norms ``norm`` inside its conv blocks; timm keeps ``norm`` for the transformer's layer norms only.
    if not re.search(r"^stages\.\d\.\d\.norm\.", name):
        name = re.sub(r"\.norm\.", ".bn.", name)
    return name


def is_efficientnet_pytorch(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the names of the package efficientnet_pytorch (``_conv_stem.weight``), whose files came from TensorFlow."""
    return "_conv_stem.weight" in state


def from_efficientnet_pytorch(state: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """An EfficientNet's state dict in timm's names.

    Args:
        state: its blocks are counted through, ``_blocks.15``.
        names: of timm's tensors, whose blocks are counted within stages, ``blocks.6.0``: the n-th of the one is the n-th of the other.
    """
    places = sorted({tuple(int(number) for number in found.groups()) for name in names if (found := re.match(r"blocks\.(\d+)\.(\d+)\.", name))})
    renamed = {}
    for key, value in state.items():
        if found := re.match(r"_blocks\.(\d+)\.([^.]+)(.*)", key):
            block, part, rest = int(found[1]), found[2], found[3]
            parts = (_EXPANDED if f"_blocks.{block}._expand_conv.weight" in state else _SEPARABLE) | _EXCITATION
            if block < len(places) and part in parts:
                renamed[f"blocks.{places[block][0]}.{places[block][1]}.{parts[part]}{rest}"] = value
        else:
            part, _, rest = key.partition(".")
            renamed[f"{_AROUND.get(part, part)}.{rest}"] = value
    return renamed
