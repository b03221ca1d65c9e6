"""Checkpoints: weights and plain values, never code, with the SHA-256 of their content inside."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from filelock import Timeout
from torch import Tensor, nn

from ehanet.config import RunConfig
from ehanet.data.cache import locked
from ehanet.devices import describe_device
from ehanet.files import write_atomically
from ehanet.fingerprint import digest
from ehanet.models import build_model
from ehanet.plugins import load_plugin
from ehanet.records import read_record


def save_checkpoint(path: Path, state: dict) -> None:
    """Save tensors and plain values, and their hash under "sha256"; ``state["config"]`` is the run's configuration as a dictionary."""
    state = {**state, "sha256": content_sha256(state)}

    def write(temporary: Path) -> None:
        try:
            with open(temporary, "wb") as file:
                torch.save(state, file)
        except RuntimeError as error:  # torch hides what the disk said
            raise error.__context__ if isinstance(error.__context__, OSError) else error

    write_atomically(path, write)


class Saver:
    """Saves checkpoints, on a GPU in a thread of its own while the training goes on.

    Args:
        beside: whether in a thread. What goes wrong there is raised by the next call.
    """

    def __init__(self, beside: bool):
        self.pool, self.pending = ThreadPoolExecutor(1) if beside else None, None

    def __call__(self, states: dict[Path, dict]) -> None:
        """:func:`save_checkpoint` of states as they are now, in this order."""
        if self.pool is None:
            _save_all(states)
            return
        copies = _copied(states)
        self.wait()
        self.pending = self.pool.submit(_save_all, copies)

    def wait(self) -> None:
        """Return when all is on the disk."""
        pending, self.pending = self.pending, None
        if pending:
            pending.result()


def _save_all(states: dict[Path, dict]) -> None:
    for path, state in states.items():
        save_checkpoint(path, state)


def _copied(value):
    """Nested dictionaries, lists and tuples with their tensors copied to the CPU."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return type(value)(map(_copied, value)) if isinstance(value, (list, tuple)) else value


def load_checkpoint(path: Path) -> dict:
    """Read a checkpoint as weights and plain values only: the file cannot run code. The plugin that it may name is run when the network is built (:func:`restore_model`).

    Raises:
        FileNotFoundError, ValueError: missing, unreadable, or of another content than its hash, named.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} not found")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        written = state.get("sha256")
        found = content_sha256({key: value for key, value in state.items() if key != "sha256"}) if written else None
    except MemoryError:
        raise
    except Exception as error:  # damaged bytes make the unpickler raise anything
        raise ValueError(f"checkpoint {path} is damaged or no checkpoint ({type(error).__name__}); "
                         "remove it and run the training again") from error
    if written != found:
        raise ValueError(f"checkpoint {path} is damaged (its content has another SHA-256 than was written); remove it and run the training again")
    return state


def load_best(run_dir: str | Path) -> dict:
    """The best checkpoint of a finished run, which must be the one that its record speaks of.

    Raises:
        FileNotFoundError, ValueError: see :func:`load_checkpoint`; or a checkpoint of another training.
    """
    path, record = Path(run_dir, "best.pt"), Path(run_dir, "record.json")
    state = load_checkpoint(path)
    wanted = read_record(record).get("checkpoint_sha256") if record.is_file() else None
    if wanted and wanted != state.get("sha256"):
        raise ValueError(f"checkpoint {path} is not the one of {record}; remove it and run the training again")
    return state


def is_sound(run_dir: Path, name: str = "best.pt") -> bool:
    """Whether a checkpoint is there, undamaged, and that of the folder's record where there is one."""
    try:
        load_best(run_dir) if name == "best.pt" else load_checkpoint(run_dir / name)
    except (FileNotFoundError, ValueError):
        return False
    return True


@contextmanager
def claimed(run_dir: Path) -> Iterator[None]:
    """The folder for one training: two at once would write into each other's checkpoints. A killed one's claim is free at once.

    Raises:
        ValueError: another process trains there.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(f"training-{digest(str(run_dir.resolve()))}", wait=False))
        except Timeout:
            raise ValueError(f"{run_dir}: another training is running in this folder; wait for it, or choose another folder") from None
        yield


def start_anew(run_dir: Path) -> None:
    """Remove what is left of a run, with a warning."""
    warnings.warn(f"{run_dir}: a checkpoint is missing or damaged; the training starts anew", stacklevel=3)
    for name in ("record.json", "last.pt", "best.pt"):
        (run_dir / name).unlink(missing_ok=True)


def check_same_configuration(config: RunConfig, other: dict, run_dir: Path) -> None:
    """Refuse, with a ``ValueError`` that names the differences, to take up the run of another configuration in ``run_dir``."""
    differences = config.differences(RunConfig.from_dict(other))
    if differences:
        raise ValueError(f"{run_dir} holds a run of another configuration ({'; '.join(differences)}); "
                         "choose another folder or remove it")


def arithmetic(device: torch.device, dtype: torch.dtype) -> dict:
    """What besides configuration and code decides the last digits of a training, as last.pt keeps it."""
    return {"precision": str(dtype).removeprefix("torch."), **describe_device(device), "torch": str(torch.__version__)}


def check_same_arithmetic(state: dict, now: dict, trained: list[nn.Parameter], run_dir: Path) -> list[str]:
    """Refuse, with a ``ValueError``, to take up a run in another precision or on another kind of device: it would be a mixture that no other run equals.

    Args:
        state: of last.pt. now: what :func:`arithmetic` says here. trained: the parameters to train here; on CUDA biases before a batch norm are not.

    Returns:
        For the record's warnings: what changed before and changes now of what moves the last digits alone, machine, threads and version of torch.
    """
    before, changed = state.get("arithmetic", now), list(state.get("changed", []))
    for name in ("precision", "type"):
        if before[name] != now[name]:
            raise ValueError(f"{run_dir}: its first {state['epoch']} epochs were computed in {before['precision']} on {before['type']}, here it would be {now['precision']} on "
                             f"{now['type']}; go on there, or remove the folder to begin anew")
    there = sum(len(group["params"]) for group in state["optimizer"]["param_groups"])
    if there != len(trained):
        raise ValueError(f"{run_dir} was begun on another kind of device than {now['type']} or by an earlier version ({there} trained parameters there, {len(trained)} here); "
                         "go on there, or remove the folder to begin anew")
    if before != now:
        changed.append(f"after epoch {state['epoch']} the training went on with {_told(now)}, begun with {_told(before)}")
    return changed


def _told(machine: dict) -> str:
    return f"{machine['name']}, {machine['threads']} thread{'s' * (machine['threads'] != 1)}, torch {machine['torch']}"


def content_sha256(value) -> str:
    """SHA-256 of nested dictionaries, lists, tensors and plain values."""
    digest = hashlib.sha256()
    _update(digest, value)
    return digest.hexdigest()


def _update(digest, value) -> None:
    if isinstance(value, Tensor):
        digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, dict):
        for key, item in value.items():
            digest.update(f"{key!r}:".encode())
            _update(digest, item)
    elif isinstance(value, (list, tuple)):
        digest.update(f"{len(value)}".encode())
        for item in value:
            _update(digest, item)
    else:
        digest.update(repr(value).encode())


def restore_model(checkpoint: dict) -> tuple[nn.Module, RunConfig]:
    """The network of a checkpoint with its weights, in evaluation mode; needs neither weights files nor a network.

    Raises:
        ValueError: the checkpoint has no configuration or no weights, or they do not fit together.
    """
    if not isinstance(checkpoint.get("config"), dict) or not isinstance(checkpoint.get("model"), dict):
        raise ValueError(f"no checkpoint of this suite: it needs 'config' and 'model', and has {', '.join(map(str, list(checkpoint)[:8])) or 'nothing'}")
    config = RunConfig.from_dict(checkpoint["config"])
    options = {**config.build_options, "pretrained": False}
    options.pop("encoder_weights", None)
    if checkpoint.get("encoder"):
        options["encoder"] = checkpoint["encoder"]
    load_plugin(config.plugin)
    model = build_model(config.method, **options)  # initial_weights, too, have given way to the checkpoint's
    try:
        model.load_state_dict(checkpoint["model"])
    except RuntimeError as error:
        raise ValueError(f"the checkpoint's weights are not those of {config.label} ({' '.join(str(error).split())[:200]})") from error
    model.input_size = config.size
    return model.eval(), config
