"""How a run's weights begin, and what it takes over from trained networks: all weights of one to start from, the answers of another to learn from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ehanet.config import WEIGHT_FILES, RunConfig, find_weights
from ehanet.data.sources import describe
from ehanet.data.splits import content_and_split
from ehanet.devices import forward_pass, place
from ehanet.files import file_sha256
from ehanet.models import build_model
from ehanet.models.encoders import zero_init
from ehanet.models.pretrained import fill_weights, load_weights


class Transfer:
    """What a run takes over from other networks, and how its record tells it.

    Attributes:
        initialisation: where the encoder's weights come from, as in :class:`ehanet.models.encoders.Encoder`. A network that was itself trained from random
            weights counts as random, "random, whole network from <file>": it knows nothing that the data sets of this suite did not teach it.
        teacher: the network of a :class:`Teacher`, or None.
        hashes: SHA-256 of the files, for the record.
    """

    def __init__(self, config: RunConfig, model: nn.Module, manifest: dict):
        self.encoder = getattr(model, "encoder", None)
        self.initialisation = getattr(self.encoder, "initialisation", "random")
        self.teacher, self.taught, self.random_teacher = None, "", False
        self.hashes: dict[str, str | None] = {"encoder_weights_sha256": getattr(self.encoder, "weights_sha256", None), "initial_weights_sha256": None, "teacher_sha256": None}
        self.zero_init = config.zero_init
        if self.zero_init:
            zero_init(self.encoder)
        if config.initial_weights:
            file = find_weights(config.initial_weights)
            about = fill_weights(model, file)
            self._took_over("initial_weights", file, about, manifest)
            self.initialisation = f"{'random, ' if began_random(about) else ''}whole network from {file.name}"
        if config.teacher:
            file = find_weights(config.teacher)
            self.teacher = load_weights(network, file)
            about = self.teacher.about or {}
            self._took_over("teacher", file, about, manifest)
            self.random_teacher = began_random(about)
            self.taught = f"{'random ' if self.random_teacher else ''}teacher {file.name}"

    def _took_over(self, setting: str, file: Path, about: dict, manifest: dict) -> None:
        check_same_split(about, manifest, setting, file.name)
        self.hashes[f"{setting}_sha256"] = file_sha256(file)

    def describe_encoder(self, frozen: bool) -> str:
        """For the record: how the encoder began and whether it was trained, "none" without one. A text that begins with "random" is of the track of random
        weights; a teacher that knows more is therefore named first."""
        if frozen:
            treated = "encoder frozen" if self.hashes["initial_weights_sha256"] else "frozen"
        else:
            treated = "trained" if self.initialisation == "random" else "fine-tuned"
        start = f"{self.initialisation}, transformers at zero" if self.zero_init else self.initialisation
        told = "none" if self.encoder is None else f"{start}, {treated}"
        if self.taught and not self.random_teacher:
            return f"{self.taught}, {told}"
        return f"{told}, {self.taught}" if self.taught and self.encoder is not None else told


class Teacher:
    """A trained EHANet whose probabilities a run learns beside the masks (Hinton, Vinyals, Dean 2015, with temperature 1)."""

    def __init__(self, model: nn.Module, device: torch.device, dtype: torch.dtype):
        self.model, self.dtype = place(model.requires_grad_(False), device, dtype), dtype

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [0, 1] -> probabilities (B, 1, H, W) float32; it sees them at the size it was trained at."""
        size = images.shape[2:]
        if side := self.model.input_size:
            images = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
        logits = forward_pass(self.model, images, self.dtype).logits
        return F.interpolate(logits.float().sigmoid(), size, mode="bilinear", antialias=True)

    def loss(self, logits: Tensor, images: Tensor) -> Tensor:
        """Binary cross-entropy between final logits (B, 1, H, W) and the teacher's probabilities for the same images."""
        return F.binary_cross_entropy_with_logits(logits.float(), self(images))


def network(**arguments) -> nn.Module:
    """EHANet from the registry, whose methods count for the trainings that use them alone (``ehanet.fingerprint``)."""
    return build_model("ehanet", **arguments)


def began_random(about: dict) -> bool:
    """Whether a checkpoint says that its encoder began with random weights."""
    return about.get("recipe", {}).get("Encoder", "").startswith("random")


def check_same_weights(config: RunConfig, before: Mapping, run: str | Path) -> None:
    """Refuse to go on with ``run``, or to repeat it, with a weights file that is another one than it began with.

    Args:
        before: the run's record, or the ``hashes`` of :class:`Transfer` that it left. A file that is no longer there, or was not recorded, is passed over.
    """
    for setting in WEIGHT_FILES:
        file, known = getattr(config, setting), before.get(f"{setting}_sha256")
        try:
            path = find_weights(file) if file and known else None
        except FileNotFoundError:
            continue
        if path and (now := describe(path, None)["sha256"]) != known:
            raise ValueError(f"{path}: {run} had another file of this name (SHA-256 {known[:12]}, {now[:12]} now); put that one in its place, or begin anew elsewhere")


def check_same_split(about: dict, manifest: dict, setting: str, file: str) -> None:
    """Refuse weights that saw this data set in another split: their training may have had images that are now for testing.

    Splits are told apart by their hash; files of before it was kept, by the number of images of each part.

    Args:
        about: what the weights ``file`` of the ``setting`` says about itself. manifest: of the data set to train on.
    """
    counts = ", ".join(f"{count} {part}" for part, count in manifest["split"]["counts"].items())
    told = dict.fromkeys(manifest.get("part_hashes", {}), "another one here") | {manifest["name"]: f"here {counts}"}  # a union has no counts of its parts
    for data in about.get("data", []):
        name = data["name"]
        known = data.get("split") or (data.get("counts") if name == manifest["name"] else None)
        if name in told and known and known not in (content_and_split(manifest, name)[1][:16], counts):
            raise ValueError(f"{setting}: {file} was trained on another split of {name} ({data['counts']}; {told[name]}): "
                             "its training may have seen the test images, so take other weights or its split")
