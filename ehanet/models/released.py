"""Load a state dict of the authors' released EHANet (github tyjcbzd/EHANet) into ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from ehanet.models.ehanet import EHANet
from ehanet.models.weight_names import timm_name

_AHFA_PARTS = {
    "input_conv": "reduce",
    "conv_b1.0": "short.0", "conv_b1.1": "short.1", "conv_b1.2.fc.0": "short.2.squeeze", "conv_b1.2.fc.2": "short.2.excite",
    "conv_b2": "long",
    "conv_rp": "project",
    "weight.1": "gate.1.0", "weight.2": "gate.1.1", "weight.4": "gate.2", "weight.5": "gate.3",
    "out.0": "side",
}
_IEM_PARTS = {
    "input_conv_1.0": "path1.0.0", "input_conv_1.1": "path1.0.1", "input_conv_1.3": "path1.1.0", "input_conv_1.4": "path1.1.1",
    "input_conv_2.1": "path2.0.0", "input_conv_2.2": "path2.0.1", "input_conv_2.4": "path2.1.0", "input_conv_2.5": "path2.1.1",
    "output_edge_conv.0": "edge_reduce.0", "output_edge_conv.1": "edge_reduce.1",
    "output_edge_conv.4": "edge_head.0", "output_edge_conv.5": "edge_head.1",
    "output_conv.0": "feature_reduce.0", "output_conv.1": "feature_reduce.1",
    "output_conv.4": "feature_head.0", "output_conv.5": "feature_head.1",
}


def load_released(model: EHANet, state_dict: Mapping) -> None:
    """Fill ``model`` in place from tensors or arrays under the authors' parameter names.

    The unused expansion (``encoder.conv_1x1_exp``) and classifier are passed over; otherwise names and shapes must match.

    Raises:
        ValueError: a name that the released network does not have, a missing one, or another shape.
    """
    own = model.state_dict()
    filled = {}
    for name, value in state_dict.items():
        if name.startswith(("encoder.conv_1x1_exp.", "encoder.classifier.")):
            continue
        target = our_name(name)
        if target not in own:
            raise ValueError(f"state dict: {name!r} has no place in this network (expected an EHANet on mobilevit_s)")
        tensor = torch.as_tensor(value)
        if tensor.shape != own[target].shape:
            raise ValueError(f"state dict: {name!r} has shape {tuple(tensor.shape)}, expected {tuple(own[target].shape)}")
        filled[target] = tensor
    missing = own.keys() - filled.keys()
    if missing:
        raise ValueError(f"state dict: nothing for {min(missing)!r} ({len(missing)} tensors missing)")
    model.load_state_dict(filled)


def our_name(released: str) -> str:
    """Our parameter name for ``released``, one of the authors' 582 names, e.g. ``att1.Conv1x1.weight`` -> ``efa.0.spatial.weight``.

    A name of no known form comes back unchanged.
    """
    module, _, rest = released.partition(".")
    if module == "encoder":
        return f"encoder.net.{timm_name(released)}"
    if re.fullmatch("att[0-9]+", module):
        part, _, leaf = rest.rpartition(".")
        return f"efa.{int(module[3:]) - 1}.{ {'conv': 'channel', 'Conv1x1': 'spatial'}.get(part, part)}.{leaf}"
    if re.fullmatch("d_block_[0-9]+", module):
        return f"decoder.{int(module[8:]) - 1}.{_replace_prefix(rest, _AHFA_PARTS)}"
    if module == "iem":
        return f"iem.{_replace_prefix(rest, _IEM_PARTS)}"
    if module == "output_conv":
        return f"head.{rest}"
    return released


def _replace_prefix(name: str, table: Mapping[str, str]) -> str:
    for prefix, replacement in table.items():
        if name.startswith(prefix + "."):
            return replacement + name[len(prefix):]
    return name
