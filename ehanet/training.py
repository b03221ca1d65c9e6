"""One training loop for every network, resumable at each epoch with the result of an undisturbed run.

All randomness of an epoch (order, augmentation, dropout) comes from (seed, epoch), so nothing of a generator's state
has to survive a kill: the run goes on from the last finished epoch and computes what it would have computed.

Out of memory stops the run with advice. Halving the batch and accumulating gradients would go on, but batch norm and losses
that pool over the batch would see other batches, so that the numbers would depend on the memory that happened to be free.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ehanet.checkpoints import Saver, arithmetic, check_same_arithmetic, check_same_configuration, claimed, is_sound, load_checkpoint, start_anew
from ehanet.config import RunConfig
from ehanet.copies import WorkingCopies
from ehanet.data import Dataset, load_dataset
from ehanet.data.augment import Augmentation
from ehanet.data.edges import edge_labels, released_edge_labels
from ehanet.data.joint import balanced_draw
from ehanet.data.splits import check_same_images, content_and_split
from ehanet.devices import compute_dtype, describe_device, find_device, forward_pass, keep_memory, on_device, out_of_memory, peak_memory, place, take
from ehanet.files import sweep, write_json
from ehanet.fingerprint import digest
from ehanet.graphs import recorded
from ehanet.history import HISTORY, write_history
from ehanet.metrics.regions import dice_per_image
from ehanet.models import build_loss, build_model
from ehanet.models.flips import mean_prediction
from ehanet.models.folding import drop_idle_biases
from ehanet.plugins import load_plugin, plugin_hashes
from ehanet.recipe import batches, freeze, learning_rate_factor, update_average
from ehanet.records import read_record, write_record
from ehanet.transfer import Teacher, Transfer, check_same_weights

ADVICE = "the last good checkpoint is kept. Try a smaller learning_rate or precision: float32"


def fit(config: RunConfig, run_dir: str | Path, root: str | Path | None = None, progress: bool = True, stop: Callable[[], bool] | None = None) -> dict:
    """Train ``config`` in ``run_dir`` and return the run's record.

    ``run_dir`` gets config.json, history.csv, last.pt, best.pt, TensorBoard's events and, when all is done, record.json.
    A finished run returns at once, an interrupted one goes on at the next epoch, one with damaged or missing checkpoints is made again, with a warning.

    Args:
        root: folder of the data set's archives or unpacked folders; phantoms need none.
        progress: show a bar with loss and validation Dice. stop: asked before each epoch; where it says yes, the run is left to be gone on with.

    Raises:
        ValueError: ``run_dir`` holds a run of another configuration, of other images or in another precision, or another process trains there, the loss is no longer
            finite (the message names the batch's images), or the device is out of memory.
        OSError: full disk or read-only folder; the last finished epoch is kept. InterruptedError: ``stop`` said yes.
    """
    run_dir = Path(run_dir)
    if (run_dir / "record.json").is_file():
        record = read_record(run_dir / "record.json")
        check_same_configuration(config, record["config"], run_dir)
        if is_sound(run_dir):
            check_same_weights(config, record, run_dir)
            check_same_images(content_and_split(record["data"]), load_dataset(config.dataset, root=root, size=config.size).manifest, str(run_dir))
            return record
        start_anew(run_dir)
    with claimed(run_dir):
        started = time.time()
        trainer = Trainer(config, load_dataset(config.dataset, root=root, size=config.size), run_dir)
        trainer.resume()
        try:
            with tqdm(total=config.epochs, initial=trainer.epoch, desc=f"{config.label} on {config.dataset}", unit="epoch", disable=not progress) as bar:
                while trainer.epoch < config.epochs:
                    if stop and stop():
                        raise InterruptedError(f"{run_dir}: stopped after epoch {trainer.epoch} of {config.epochs}; run it again to go on")
                    row = trainer.run_epoch()
                    bar.set_postfix(loss=f"{row['train_loss']:.3f}", val_dice=f"{row['val_dice']:.3f}")
                    bar.update()
            return trainer.finish(started)
        finally:
            trainer.save.wait()


class Trainer:
    """What a run keeps between epochs; :func:`fit` is its front door, benchmarks take single steps from it."""

    def __init__(self, config: RunConfig, dataset: Dataset, run_dir: Path):
        keep_memory()
        self.config, self.dataset, self.run_dir = config, dataset, run_dir
        self.device = find_device(config.device)
        self.dtype = compute_dtype(config.precision, self.device)
        if not len(dataset.splits["val"]):
            raise ValueError(f"{dataset.name}: the split {dataset.manifest['split']['source']} has no images for val, which choose the checkpoint; "
                             "give some rows of its CSV the split val")
        if config.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS needs for it
        torch.use_deterministic_algorithms(config.deterministic, warn_only=True)
        torch.backends.cudnn.allow_tf32 = self.dtype != torch.float32  # CUDA's default multiplies float32 in convolutions with ten bits
        torch.manual_seed(config.seed)
        load_plugin(config.plugin)
        self.model = build_model(config.method, **config.build_options)
        self.encoder = getattr(self.model, "encoder", None)
        self.transfer = Transfer(config, self.model, dataset.manifest)
        self.frozen = freeze(self.encoder, config.freeze_encoder, self.transfer.initialisation)
        place(self.model, self.device, self.dtype)
        if self.device.type == "cuda":
            drop_idle_biases(self.model, torch.zeros(1, 3, config.size, config.size, device=self.device))
        self.teacher = Teacher(self.transfer.teacher, self.device, self.dtype) if self.transfer.teacher else None
        self.forward = torch.compile(self.model) if config.compile else self.model
        self.average = deepcopy(self.model).requires_grad_(False) if config.ema else None
        self.judged = self.average or self.model  # what is validated and kept
        self.loss, self.augment = build_loss(config.method, **config.loss_options), Augmentation(config.augmentation)
        self.trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
        self.optimizer = optimizer(self.trained, lr=config.learning_rate, weight_decay=config.weight_decay, fused=self.device.type in ("cpu", "cuda"))  # one kernel in place of hundreds
        self.copies = WorkingCopies(self.model, self.dtype) if self.device.type == "cuda" and self.dtype != torch.float32 and not config.compile else None
        self.gradients, self.judge = ((work if config.deterministic else recorded(work, self.device)) for work in (self._gradients, self._judge))
        self.pictures = on_device(dataset.images, self.device), on_device(dataset.masks, self.device)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step, total=self.total_steps: learning_rate_factor(config.schedule, step / total))
        self.arithmetic, self.changed = arithmetic(self.device, self.dtype), []
        self.epoch, self.history, self.best, self.save = 0, [], None, Saver(beside=self.device.type == "cuda")

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return max(1, self.config.epochs * len(batches(self._order(np.random.default_rng(0)), self.config.batch_size)))

    def _order(self, random: np.random.Generator) -> np.ndarray:
        """The training images of one epoch."""
        train = self.dataset.splits["train"]
        if not self.config.epoch_images:
            return random.permutation(train)
        sizes = self.dataset.manifest.get("parts", {self.dataset.name: len(self.dataset.ids)})
        return balanced_draw(train, sizes, self.config.epoch_images, random)

    def resume(self) -> None:
        """Go on from last.pt where there is one of the same configuration; else start and write the configuration."""
        sweep(self.run_dir)
        last = self.run_dir / "last.pt"
        if last.is_file() and not (is_sound(self.run_dir) and is_sound(self.run_dir, "last.pt")):
            start_anew(self.run_dir)
        if not last.is_file():
            write_json(self.run_dir / "config.json", self.config.to_dict())
            return
        state = load_checkpoint(last)
        check_same_configuration(self.config, state["config"], self.run_dir)
        check_same_weights(self.config, state.get("weights", {}), self.run_dir)
        check_same_images(state.get("data"), self.dataset.manifest, str(self.run_dir))
        self.changed = check_same_arithmetic(state, self.arithmetic, self.trained, self.run_dir)
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.epoch, self.history, self.best = state["epoch"], state["history"], load_checkpoint(self.run_dir / "best.pt")["best"]  # a kill may come between the files

    def run_epoch(self) -> dict:
        """Train one epoch, validate, write best.pt when it is the best so far, then last.pt; returns the history's row."""
        started = time.time()
        random = np.random.SeedSequence([self.config.seed, self.epoch]).generate_state(3)
        order = self._order(np.random.default_rng(random[0]))
        generator = torch.Generator().manual_seed(int(random[1]))
        torch.manual_seed(int(random[2]))  # dropout
        self.model.train()
        try:
            losses = self._train(batches(order, self.config.batch_size), generator)
            val_loss, val_dice = self._validate()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            raise ValueError(f"{self.device} is out of memory in epoch {self.epoch + 1} with batches of {self.config.batch_size} images of {self.config.size} px; "
                             "the last finished epoch is kept. Free memory and run again to go on, or set a smaller batch_size (another recipe, which starts anew)") from error
        if not math.isfinite(val_loss):
            raise ValueError(f"validation loss is {val_loss} after epoch {self.epoch + 1}; {ADVICE}")
        self.epoch += 1
        row = dict(zip(HISTORY, [self.epoch, self.schedule.last_epoch, float(np.mean(losses)), val_loss, val_dice,
                                 self.optimizer.param_groups[0]["lr"], round(time.time() - started, 3)]))
        self.history.append(row)
        states, score = {}, -val_loss if "checkpoint-by-loss" in self.config.defects else val_dice
        if self.best is None or score > self.best["score"]:
            self.best = {"score": score, "epoch": self.epoch, "val_dice": val_dice, "val_loss": val_loss}
            states[self.run_dir / "best.pt"] = self._state(optimizer=False)
        self.save(states | {self.run_dir / "last.pt": self._state(optimizer=True)})
        write_history(self.run_dir, self.history)
        return row

    def batch(self, indices: np.ndarray, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Images (B, 3, H, W) in [0, 1], masks and edge labels (B, 1, H, W) of these indices, augmented, on the device."""
        images, masks = self._load(indices)
        original = masks
        images, masks = self.augment(images, masks, generator)
        # the released loop augments image and mask, never the edge file
        return images, masks, self._edge_labels(original if "edges-unaugmented" in self.config.defects else masks)

    def step(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """One optimizer step on what :meth:`batch` gave; returns the loss, a tensor of no dimension on the device."""
        loss, *gradients = self.gradients(*batch)
        for parameter, gradient in zip(self.trained, gradients):
            parameter.grad = gradient
        self.optimizer.step()
        self.schedule.step()
        if self.average is not None:
            update_average(self.average, self.model, self.config.ema, self.schedule.last_epoch - 1)
        return loss.clone()

    def _gradients(self, images: Tensor, masks: Tensor, edges: Tensor) -> list[Tensor | None]:
        """The loss and its gradients with respect to ``self.trained``."""
        self.optimizer.zero_grad(set_to_none=True)
        out = self._predict(images, self.copies)
        loss = self.loss(out, masks, edges).total
        if self.teacher:
            loss = loss + self.teacher.loss(out.logits, images)
        loss.backward()
        if self.copies:
            self.copies.hand_back()
        return [loss.detach(), *(parameter.grad for parameter in self.trained)]

    def _train(self, parts: list[np.ndarray], generator: torch.Generator) -> list[float]:
        """A step on each batch; returns the losses. Each is read when the next step is on its way, so that a GPU never waits for Python."""
        losses, before = [], None
        for indices in parts:
            loss = self.step(self.batch(indices, generator))
            if before:
                losses.append(self._finite(*before))
            before = indices, loss
        losses.append(self._finite(*before))
        return losses

    def _finite(self, indices: np.ndarray, loss: Tensor) -> float:
        value = loss.item()
        if not math.isfinite(value):
            ids = ", ".join(self.dataset.ids[index] for index in indices)
            raise ValueError(f"loss is {value} in epoch {self.epoch + 1} on images {ids}; {ADVICE}")
        return value

    def _edge_labels(self, masks: Tensor) -> Tensor:
        return released_edge_labels(masks) if "edges-resized" in self.config.defects else edge_labels(masks, self.config.edge_width)

    def _predict(self, images: Tensor, model: Callable | None = None):
        return forward_pass(model or self.forward, images, self.dtype)

    @torch.no_grad()
    def _validate(self) -> tuple[float, float]:
        """Mean loss over batches, and mean per-image Dice, of the validation split."""
        self.judged.eval()
        losses, dice, weights, indices = [], [], [], self.dataset.splits["val"]
        for start in range(0, len(indices), 2 * self.config.batch_size):
            batch = indices[start:start + 2 * self.config.batch_size]
            images, masks = self._load(batch)
            loss, found = self.judge(images, masks)
            losses.append(loss.item())
            weights.append(len(batch))
            dice.append(dice_per_image(found.cpu().numpy(), masks[:, 0].cpu().numpy() > 0))
        return float(np.average(losses, weights=weights)), float(np.concatenate(dice).mean())

    def _judge(self, images: Tensor, masks: Tensor) -> list[Tensor]:
        """The loss and the probabilities (B, H, W) of images in the order of :meth:`_load`."""
        out = self._predict(images, self.judged)
        found = out.logits.float().sigmoid()[:, 0]
        if self.config.test_flips:
            found, _ = mean_prediction(lambda flipped: self._predict(flipped, self.judged), images, True)
        return [self.loss(out, masks, self._edge_labels(masks)).total, found]

    def _load(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """uint8 images and masks of these indices -> float (B, 3, H, W) in [0, 1] and (B, 1, H, W) on the device."""
        images, masks = (take(array, np.asarray(indices), self.device) for array in self.pictures)
        return images.permute(0, 3, 1, 2).float() / 255, masks[:, None].float()

    def _state(self, optimizer: bool) -> dict:
        kept = self.model if optimizer else self.judged
        state = {"model": kept.state_dict(), "config": self.config.to_dict(), "epoch": self.epoch, "best": self.best,
                 "encoder": getattr(self.encoder, "name", None), "data": content_and_split(self.dataset.manifest)}
        if optimizer and self.average is not None:
            state["average"] = self.average.state_dict()
        if optimizer:
            state |= {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict(), "history": self.history, "weights": self.transfer.hashes,
                      "arithmetic": self.arithmetic, "changed": self.changed}
        return state

    def finish(self, started: float) -> dict:
        """Write record.json, the sign that the run is complete."""
        self.save.wait()
        write_history(self.run_dir, self.history)
        encoder = self.transfer.describe_encoder(self.frozen)
        began_random = self.encoder is not None and self.transfer.initialisation.startswith("random")
        notes = [*self.dataset.manifest.get("warnings", []), *([f"encoder: {encoder}"] if began_random else []), *self.changed]
        return write_record(
            self.run_dir / "record.json", kind="run", modules=["ehanet.training"], started=started,
            config=self.config.to_dict(), seed=self.config.seed, data=self.dataset.manifest,
            device=describe_device(self.device), precision=str(self.dtype).removeprefix("torch."),
            seconds=round(sum(row["seconds"] for row in self.history), 1), peak_memory_bytes=peak_memory(self.device), encoder=encoder, **self.transfer.hashes,
            plugin_sha256=digest(plugin_hashes(self.config.plugin)) if self.config.plugin else None, steps=self.history[-1]["steps"], best=self.best, warnings=notes,
            checkpoint_sha256=load_checkpoint(self.run_dir / "best.pt").get("sha256"),
        )
