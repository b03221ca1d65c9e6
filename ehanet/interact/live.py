"""Watch a training: the loss and the predictions after every epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import matplotlib
import numpy as np
import pandas as pd
from torch import nn

from ehanet.checkpoints import load_checkpoint, restore_model
from ehanet.config import RunConfig
from ehanet.inference import predict
from ehanet.interact.canvas import Cell, Picture, show
from ehanet.interact.examples import Example
from ehanet.interact.predictions import blended, legend_of
from ehanet.reporting.style import BLUE, RC, VERMILLION, WIDTH, stamp
from ehanet.training import fit

SHOWN = 4


def train_live(config: RunConfig, run_dir: str | Path, root: str | Path | None = None, every: float = 0.3) -> Iterator[tuple[pd.DataFrame, nn.Module]]:
    """Train as ``ehanet.training.fit`` does, and give history and network after each epoch that is seen, the last one always.

    The training runs in a thread of its own and leaves the same files. Leaving the loop, as the notebook's stop button does, ends it after the epoch that is
    being trained; called again it goes on from there. A finished run gives its last state once.

    Args:
        config, run_dir, root: as in ``fit``: what is trained, the folder for its files, the folder of the data.
        every: seconds between two looks at the run's files.

    Raises:
        What ``fit`` raises.
    """
    run_dir, shown, left = Path(run_dir), 0, Event()
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(fit, config, run_dir, root, False, left.is_set)
        try:
            while not training.done():
                time.sleep(every)
                if _epochs(run_dir) > shown and (run_dir / "last.pt").is_file() and not training.done():
                    history, model = _state(run_dir)
                    if len(history) > shown:
                        shown = len(history)
                        yield history, model
        finally:
            left.set()
        training.result()
    yield _state(run_dir)


def _epochs(run_dir: Path) -> int:
    """Epochs that the run has finished and written down."""
    path = run_dir / "history.csv"
    return len(pd.read_csv(path)) if path.is_file() else 0


def _state(run_dir: Path) -> tuple[pd.DataFrame, nn.Module]:
    """Both from one file: on a GPU the checkpoint is written beside the training, and may be later than history.csv."""
    state = load_checkpoint(run_dir / "last.pt")
    return pd.DataFrame(state["history"]), restore_model(state)[0]


def progress_picture(history: pd.DataFrame, model: nn.Module, examples: Sequence[Example], epochs: int) -> Picture:
    """Losses, validation Dice and the predictions for up to four images, as they stand after the last of ``history``, out of ``epochs``."""
    examples = list(examples)[:SHOWN]
    probabilities = predict(model, [example.image for example in examples])
    side = (WIDTH - 0.1) / SHOWN - 0.08
    height = 1.75 + side + 0.5
    with matplotlib.rc_context(RC):
        picture = Picture(WIDTH, height)
        loss, dice = (picture.add_axes((left, (side + 0.82) / height, 0.4, 1.2 / height)) for left in (0.075, 0.58))
        loss.plot(history["epoch"], history["train_loss"], color=BLUE, marker="o", markersize=3.5, label="training")
        loss.plot(history["epoch"], history["val_loss"], color=VERMILLION, linestyle="--", marker="s", markersize=3.5, label="validation")
        loss.legend()
        loss.set(ylabel="loss", ylim=(0, None))
        dice.plot(history["epoch"], history["val_dice"], color=VERMILLION, linestyle="--", marker="s", markersize=3.5)
        dice.set(ylabel="validation Dice", ylim=(0, 1))
        for axes in (loss, dice):
            axes.set(xlabel="epoch", xlim=(0.5, epochs + 0.5), xticks=range(1, epochs + 1))
        for place, (example, probability) in enumerate(zip(examples, probabilities)):
            axes = picture.add_axes(((0.08 + place * (side + 0.08)) / WIDTH, 0.27 / height, side / WIDTH, side / height))
            show(axes, Cell("", blended(example.image, np.asarray(probability) > 0.5, example.mask)))
        picture.legend(handles=legend_of(examples), loc="lower left", bbox_to_anchor=(0.005, 0), ncols=3, handlelength=1.1, handleheight=1.1)
        if examples[0].mark:
            stamp(picture, examples[0].mark)
    return picture
