"""The registry of methods: a name, how to build the network, and the loss its paper trains it with.

A method of your own needs these lines in a file of your own, and nothing else; a profile's key ``plugins`` names the file::

    from ehanet import register

    @register("my-net", loss=MyLoss)           # loss is optional: Dice + BCE on the logits is the default
    class MyNet(nn.Module):
        def __init__(self, width=32): ...      # the method's options
        def forward(self, images): ...         # (B, 3, H, W) in [0, 1] -> logits (B, 1, H, W), or a SegmentationOutput

A function that returns the network may stand in place of the class. An option is checked against its annotation, or without one against the type of its
default: ``dropout=0.0`` takes any number, ``dropout=0`` whole ones. A loss is a factory: ``loss(**options)`` returns a callable
``(output, mask, edge_label) -> ehanet.losses.LossTerms``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Union, get_args, get_origin

from torch import nn

from ehanet.losses import LogitLoss
from ehanet.models.output import as_output


@dataclass(frozen=True)
class Method:
    """One entry: ``build(**options)`` gives the network, ``loss(**options)`` its training loss."""

    name: str
    build: Callable[..., nn.Module]
    loss: Callable[..., Callable]
    note: str = ""  # what deviates from the method's paper; printed under the tables

    @property
    def options(self) -> list[str]:
        """The names of the keyword options that ``build`` takes, besides ``pretrained``."""
        return [name for name in _parameters(self.build) if name != "pretrained"]

    @property
    def has_pretrained(self) -> bool:
        """Whether ``build`` takes ``pretrained``; a method without a backbone need not."""
        return "pretrained" in _parameters(self.build)

    @property
    def loss_options(self) -> list[str]:
        """The names of the keyword options that ``loss`` takes."""
        return list(_parameters(self.loss))


_METHODS: dict[str, Method] = {}


def register(name: str, *, loss: Callable[..., Callable] = LogitLoss, note: str = "") -> Callable:
    """Decorator that enters a network's class, or a function ``f(pretrained=False, **options) -> nn.Module``, under ``name``.

    Args:
        name: of the method, as :func:`build_model` and the tables know it.
        loss: factory of the training loss.
        note: what deviates from the method's paper, printed under the tables.

    Raises:
        ValueError: the name is taken by another builder.
    """

    def enter(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        taken = _METHODS.get(name)
        if taken is not None and _place(taken.build) != _place(build):  # the same again: a notebook's cell run twice
            raise ValueError(f"method name {name!r} is already registered; choose another")
        _METHODS[name] = Method(name, build, loss, note)
        return build

    return enter


def list_models() -> list[str]:
    """Names of all registered methods, in the order of their registration."""
    return list(_METHODS)


def method(name: str) -> Method:
    """The entry of ``name``; a ``ValueError`` names the known ones."""
    if name not in _METHODS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(list_models())}")
    return _METHODS[name]


def build_model(name: str, pretrained: bool = False, **options) -> nn.Module:
    """Build a network by name.

    Args:
        name: one of :func:`list_models`.
        pretrained: take the backbone's ImageNet weights through timm (downloads once; needs a network or timm's cache).
        options: the method's own options, among them ``encoder`` and ``encoder_weights`` where it has an encoder.

    Raises:
        ValueError: unknown name or option, the message names the known ones; an option of another type than it is declared with.
    """
    entry = method(name)
    _check_options(f"model {name!r}", options, entry.options, entry.build)
    _check_type(f"model {name!r}", "pretrained", pretrained, {bool})
    network = entry.build(**options, **({"pretrained": pretrained} if entry.has_pretrained else {}))
    if type(network).__module__.partition(".")[0] != "ehanet":  # the package's own return the output type themselves
        network.register_forward_hook(as_output)
    return network


def _place(build: Callable) -> tuple[str, str]:
    return build.__module__, build.__qualname__


def build_loss(name: str, **options) -> Callable:
    """The training loss of a registered method, a callable ``(output, mask, edge_label) -> LossTerms``.

    Raises:
        ValueError: as :func:`build_model`.
    """
    entry = method(name)
    _check_options(f"the loss of {name!r}", options, entry.loss_options, entry.loss)
    return entry.loss(**options)


def _parameters(factory: Callable) -> dict[str, inspect.Parameter]:
    """The parameters that can be given by name."""
    try:
        found = inspect.signature(factory, eval_str=True).parameters.values()
    except Exception:  # an annotation of a user's own may name what is imported for type checkers alone
        found = inspect.signature(factory).parameters.values()
    return {one.name: one for one in found if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}


_ACCEPTED = {bool: bool, int: Integral, float: Real, str: str, Path: Path, NoneType: NoneType}
_IN_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path", NoneType: "nothing (null)"}


def _declared(parameter: inspect.Parameter) -> set[type]:
    """The plain types that a parameter takes, by its annotation and its default; empty where they are not plain."""
    union = get_origin(parameter.annotation) in (Union, UnionType)
    kinds = [*(get_args(parameter.annotation) if union else [parameter.annotation]), type(parameter.default)]
    kinds = [kind for kind in kinds if kind is not parameter.empty and kind is not type]  # type is that of a missing default, which is a class
    plain = all(isinstance(kind, type) and kind in _ACCEPTED for kind in kinds)
    return set(kinds) if plain and set(kinds) != {NoneType} else set()


def _check_options(owner: str, given: dict, known: list[str], factory: Callable) -> None:
    parameters = _parameters(factory)
    for option, value in given.items():
        if option not in known:
            raise ValueError(f"{owner} has no option {option!r}; its options: {', '.join(known) or 'none'}")
        _check_type(owner, option, value, _declared(parameters[option]))


def _check_type(owner: str, option: str, value, kinds: set[type]) -> None:
    if isinstance(value, bool):
        fits = bool in kinds  # to Python a bool is a whole number as well, to a reader it is none
    else:
        fits = any(isinstance(value, _ACCEPTED[kind]) for kind in kinds)
    if kinds and not fits:
        raise ValueError(f"{owner}: option {option}: expected {' or '.join(words for kind, words in _IN_WORDS.items() if kind in kinds)}, got {value!r}")
