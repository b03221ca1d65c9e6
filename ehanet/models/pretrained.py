"""One safetensors file that holds a network whole: its tensors, and how to build it again, in the file's metadata.

Kept small and apart from ``ehanet.hub``: every training depends on this module, through :class:`ehanet.models.ehanet.EHANet`.
"""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path
from typing import Self

import torch
from huggingface_hub import ModelCard, PyTorchModelHubMixin, hf_hub_download
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ehanet.files import write_atomically

FILE_NAME = "model.safetensors"  # in a folder, and in a repository of the Hugging Face hub
KEY, SCHEMA = "ehanet", 1  # of the file's metadata


class Pretrained(PyTorchModelHubMixin, library_name="ehanet", pipeline_tag="image-segmentation", license="other", tags=["medical-imaging"]):
    """``save_pretrained``, ``push_to_hub`` (both of huggingface_hub) and ``from_pretrained`` for a network with an ``encoder``.

    Attributes:
        input_size: side in pixels to which ``predict`` squashes images; None: their own size.
        about: data, recipe, scores and failures, as the model card shows them; see :func:`ehanet.hub.describe_run`.
    """

    input_size: int | None = None
    about: dict | None = None

    @property
    def arguments(self) -> dict:
        """Constructor arguments that build this network again without a weights file or a network."""
        return {**self._hub_mixin_config, "encoder": self.encoder.name, "pretrained": False, "encoder_weights": None}

    @property
    def description(self) -> dict:
        """What the file says of itself: schema, arguments, input_size, about."""
        return {"schema": SCHEMA, "arguments": self.arguments, "input_size": self.input_size, "about": self.about or {}}

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **download) -> Self:
        """Load a network in evaluation mode and float32.

        Args:
            pretrained_model_name_or_path: a .safetensors file, a folder that ``save_pretrained`` wrote, or ``owner/name`` on the
                Hugging Face hub, which needs a network the first time.
            download: options of ``huggingface_hub.hf_hub_download``: revision, cache_dir, token, local_files_only, ...

        Raises:
            FileNotFoundError: neither a file nor a folder, and not to be had from the hub.
            ValueError: damaged, or not a file of this network.
        """
        return load_weights(cls, _find(pretrained_model_name_or_path, download))

    def _save_pretrained(self, save_directory: Path) -> None:
        self._hub_mixin_config = self.arguments  # what huggingface_hub writes to config.json
        save_weights(self, Path(save_directory) / FILE_NAME)

    def generate_model_card(self, **fields) -> ModelCard:
        """The card of ``model_card.md`` filled from :attr:`description`; ``fields`` are added."""
        template = resources.files("ehanet.models").joinpath("model_card.md").read_text(encoding="utf-8")
        parameters = sum(parameter.numel() for parameter in self.parameters())
        return ModelCard.from_template(self._hub_mixin_info.model_card_data, template_str=template, parameters=parameters,
                                       **{**self.description, **fields})


def save_weights(model: nn.Module, path: str | Path, half: bool = False) -> None:
    """Write ``model`` with its description to ``path``, one safetensors file, atomically; the same network gives the same bytes.

    Args:
        half: weights of convolutions and linear layers in float16. Batch norms and biases stay in float32: their few numbers
            span more than float16 can hold.

    Raises:
        ValueError: a weight is NaN, infinite, or too large for float16.
    """
    tensors = {}
    for name, tensor in model.state_dict().items():
        tensor = tensor.detach().cpu()
        tensors[name] = (tensor.half() if half and tensor.ndim > 1 else tensor).contiguous()
        if not _finite(tensors[name]):
            raise ValueError(f"{name} holds values that are not finite{' in float16' if half else ''}; nothing was written")
    content = save(tensors, metadata={KEY: json.dumps(model.description, sort_keys=True)})
    write_atomically(path, content)


def load_weights(network: type, path: str | Path) -> nn.Module:
    """The network of the file ``path`` that :func:`save_weights` wrote, in evaluation mode and float32; ValueError as in ``from_pretrained``."""
    path = Path(path)
    description, tensors = _read(path)
    try:
        model = network(**description["arguments"])
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise ValueError(f"{path} does not fit {network.__name__} of this version ({reason}); get the file again") from error
    _check_finite(model, path)
    model.input_size, model.about = description.get("input_size"), description.get("about")
    return model.eval()


def fill_weights(model: nn.Module, path: str | Path) -> dict:
    """Load all weights of the file ``path`` into ``model``, in place, and return what the file says about itself (data, recipe, scores).

    Raises:
        ValueError: damaged, no file of :func:`save_weights`, or of another network; one line.
    """
    path = Path(path)
    description, tensors = _read(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        encoder = description.get("arguments", {}).get("encoder", "not named")
        raise ValueError(f"initial_weights: {path.name} holds another network (its encoder: {encoder}) than {type(model).__name__} as configured "
                         f"({str(error).strip().splitlines()[-1].strip()[:120]})") from error
    _check_finite(model, path)
    return description.get("about") or {}


def read_about(path: str | Path) -> dict:
    """What the file ``path`` says about its network: data, recipe, scores; ValueError as in ``from_pretrained``."""
    return _read(Path(path))[0].get("about") or {}


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or no safetensors file ({' '.join(str(error).split())}); get the file again") from error
    if metadata is None:
        raise ValueError(f"{path} does not say how its network is built, so it is not one of EHANet's; write it with save_pretrained "
                         "(weights of an encoder alone go to EHANet(encoder_weights=...))")
    try:
        description = json.loads(metadata)
        schema = description["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged: its description cannot be read ({type(error).__name__}); get the file again") from error
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema}, this version reads {SCHEMA}; use another version of ehanet")
    return description, tensors


def _find(source: str | Path, download: dict) -> Path:
    path = Path(os.path.expanduser(source))
    if path.is_file():
        return path
    if path.is_dir():
        if (path / FILE_NAME).is_file():
            return path / FILE_NAME
        raise FileNotFoundError(f"folder {path} holds no {FILE_NAME}; save_pretrained writes one")
    if str(source).count("/") != 1 or path.suffix in (".safetensors", ".pt", ".pth", ".bin") or not all(path.parts) or str(source).startswith(("/", ".", "~")):
        raise FileNotFoundError(f"{source} is neither a file or folder here nor the name of a model on the Hugging Face hub (owner/name)")
    try:
        return Path(hf_hub_download(str(source), FILE_NAME, **download))
    except Exception as error:  # requests, offline mode, unknown repository: all end here, and the reader needs one line
        raise FileNotFoundError(f"{source} is no file or folder here, and the Hugging Face hub did not give it ({type(error).__name__}); "
                                "check the name and the connection") from error


def _check_finite(model: nn.Module, path: Path) -> None:
    if not all(map(_finite, model.state_dict().values())):
        raise ValueError(f"{path} is damaged: it holds weights that are not finite; get the file again")


def _finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
