"""Checkpoints: weights and plain values, never code."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import nn

from ehanet.config import RunConfig
from ehanet.files import write_atomically
from ehanet.models import build_model
from ehanet.plugins import load_plugin


def save_checkpoint(path: Path, state: dict) -> None:
    """Save tensors and plain values; ``state["config"]`` is the run's configuration as a dictionary."""
    write_atomically(path, lambda file: torch.save(state, file))


def load_checkpoint(path: Path) -> dict:
    """Read a checkpoint as weights and plain values only: a file cannot run code.

    Raises:
        FileNotFoundError, ValueError: missing or unreadable, named.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} not found")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, KeyError) as error:
        raise ValueError(f"checkpoint {path} is damaged or no checkpoint ({type(error).__name__}); "
                         "remove it and run the training again") from error


def restore_model(checkpoint: dict) -> tuple[nn.Module, RunConfig]:
    """The network of a checkpoint with its weights, in evaluation mode; needs neither weights files nor a network."""
    config = RunConfig.from_dict(checkpoint["config"])
    options = {**config.build_options, "pretrained": False}
    options.pop("encoder_weights", None)
    if checkpoint.get("encoder"):
        options["encoder"] = checkpoint["encoder"]
    load_plugin(config.plugin)
    model = build_model(config.method, **options)
    model.load_state_dict(checkpoint["model"])
    model.input_size = config.size
    return model.eval(), config
