"""A trained network for the notebooks: the shipped checkpoint, or a small training on phantoms until there is one."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ehanet import __version__
from ehanet.checkpoints import load_checkpoint, restore_model
from ehanet.config import RunConfig
from ehanet.data.cache import cache_root, locked
from ehanet.data.sources import own_name
from ehanet.hub import find_checkpoint, load_checkpoint_model
from ehanet.training import fit


def demo_model(source: str | Path = "phantom-polyp", checkpoint: str | Path | None = None, progress: bool = True) -> nn.Module:
    """An EHANet ready to predict; says in one line which weights it has.

    Args:
        source: what it is for. Where there is no checkpoint it is trained on these phantoms, or on polyps for anything else: five epochs at 64
            pixels, kept in the cache.
        checkpoint: as in ``ehanet.hub.find_checkpoint``.
        progress: show a bar while it trains.

    Raises:
        FileNotFoundError: ``checkpoint`` is given and not there.
    """
    try:
        path = find_checkpoint(checkpoint)
    except FileNotFoundError:
        if checkpoint is not None:
            raise
    else:
        print(f"Weights: {path.name}")
        return load_checkpoint_model(path)
    dataset = str(source) if str(source).startswith("phantom-") else "phantom-polyp"
    config = RunConfig(method="ehanet", dataset=dataset, size=64, epochs=5, batch_size=16, learning_rate=3e-3, schedule="one-cycle", augmentation="flips")
    folder = cache_root() / "demo" / f"{dataset}-{__version__}"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(f"demo-{folder.name}"):  # two notebooks that start together train once
        if not (folder / "record.json").is_file():
            print(f"No checkpoint in weights/: training on {dataset}, about 40 s on two cores, once.")
        record = fit(config, folder, progress=progress)
    print(f"Weights: trained here on {dataset}, validation Dice {record['best']['val_dice']:.2f}")
    return restore_model(load_checkpoint(folder / "best.pt"))[0]


def finished_runs(dataset: str | Path, runs: str | Path | None = None) -> dict[str, Path]:
    """Label -> folder of the runs that ``make paper`` has finished on ``dataset``, seed 0, of the first profile by name that has the label."""
    runs = Path(runs) if runs is not None else Path(__file__).resolve().parents[2] / "runs"
    folders = {path.parents[1].name: path.parent for path in sorted(runs.glob(f"*/{own_name(dataset)}/*/seed0/record.json"), reverse=True)}
    return dict(sorted(folders.items()))
