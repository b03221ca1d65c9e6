"""The history of a run, a row an epoch: history.csv, and the same for TensorBoard."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ehanet.files import write_atomically

HISTORY = ["epoch", "steps", "train_loss", "val_loss", "val_dice", "learning_rate", "seconds"]


def write_history(run_dir: Path, history: list[dict]) -> None:
    """Write ``run_dir``/history.csv, and the last row as events of TensorBoard; those of epochs after it, from before a kill, no longer count.

    Args:
        history: rows with the keys :data:`HISTORY`, in the order of the epochs.
    """
    from torch.utils.tensorboard import SummaryWriter  # costs a second to import: not before it is needed

    frame = pd.DataFrame(history, columns=HISTORY)
    write_atomically(run_dir / "history.csv", lambda path: frame.to_csv(path, index=False))
    with SummaryWriter(run_dir / "tensorboard", purge_step=history[-1]["epoch"]) as board:
        for name in HISTORY[2:]:
            board.add_scalar(name, history[-1][name], history[-1]["epoch"])
