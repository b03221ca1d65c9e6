"""Modules of a trained EHANet switched off, one by one, without training it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ehanet.explain import output_maps
from ehanet.interact.examples import Example
from ehanet.metrics.regions import dice_per_image
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


def switch_table(examples: Sequence[Example], model: nn.Module) -> pd.DataFrame:
    """What the network finds with modules switched off: mean Dice over the examples that have a mask, and the share of all images that it takes for an object.

    Returns:
        A row for "none", each of EFA, IEM, AHFA, and all three; columns "mean Dice" (left out where no example has a mask) and "found (% of the image)".
    """
    rows = {}
    for title, names in {"none": [], **{name: [name] for name in MODULES}, "all three": list(MODULES)}.items():
        with switched_off(model, names):
            found = [output_maps(model, example.image)["final"] > 0.5 for example in examples]
        dice = [float(dice_per_image(mask[None], example.mask[None].astype(bool))[0]) for mask, example in zip(found, examples) if example.mask is not None]
        rows[title] = {**({"mean Dice": round(float(np.mean(dice)), 2)} if dice else {}), "found (% of the image)": round(100 * float(np.mean([mask.mean() for mask in found])), 1)}
    return pd.DataFrame(rows).T.rename_axis("switched off")


def _efa(module: EFA, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    return inputs[0]


def _iem(module: IEM, inputs: tuple, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(output[0]), torch.zeros_like(output[1])


def _ahfa(module: AHFA, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    skip, deep = inputs
    passed = resize(module.reduce(deep), skip.shape[2:])
    return passed, module.side(passed)


_BYPASS = {"EFA": _efa, "IEM": _iem, "AHFA": _ahfa}
