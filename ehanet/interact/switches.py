"""Modules of a trained EHANet switched off, one by one, without training it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ehanet.models.blocks import resize
from ehanet.models.ehanet import AHFA, EFA, IEM

MODULES = {"EFA": EFA, "IEM": IEM, "AHFA": AHFA}


@contextmanager
def switched_off(model: nn.Module, names: list[str] | tuple[str, ...]) -> Iterator[nn.Module]:
    """The network with all modules of the kinds ``names`` (EFA, IEM, AHFA) bypassed inside the block, whole again after it.

    * EFA: its feature passes as it is.
    * IEM: the head gets an edge feature of zeros, and every edge probability is one half.
    * AHFA: the deep feature goes on, reduced and enlarged as ever, and the skip feature is left out.

    The ablation of the paper trains a network without the module; this shows how much one network leans on it.

    Raises:
        ValueError: a name other than EFA, IEM, AHFA.
    """
    for name in names:
        if name not in MODULES:
            raise ValueError(f"unknown module {name!r}; known: {', '.join(MODULES)}")
    handles = [module.register_forward_hook(_BYPASS[name]) for name in names for module in model.modules() if isinstance(module, MODULES[name])]
    try:
        yield model
    finally:
        for handle in handles:
            handle.remove()


def _efa(module: EFA, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    return inputs[0]


def _iem(module: IEM, inputs: tuple, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(output[0]), torch.zeros_like(output[1])


def _ahfa(module: AHFA, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    skip, deep = inputs
    passed = resize(module.reduce(deep), skip.shape[2:])
    return passed, module.side(passed)


_BYPASS = {"EFA": _efa, "IEM": _iem, "AHFA": _ahfa}
