"""Files of a run, written so that a kill at any moment leaves either the old or the new one, never half of it."""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ehanet.config import RunConfig
from ehanet.models import build_model


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then put it in place in one step."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value) -> None:
    """Readable JSON, atomically."""
    write_atomically(path, lambda file: file.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n"))


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
    model = build_model(config.method, **options)
    model.load_state_dict(checkpoint["model"])
    model.input_size = config.size
    return model.eval(), config
