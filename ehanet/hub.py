"""The checkpoint that people use: find it, load it, and make it with its model card from a finished run.

``EHANet.from_pretrained`` and ``save_pretrained`` are in ``ehanet.models.pretrained``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
from torch import nn

from ehanet.checkpoints import load_best, load_checkpoint, restore_model
from ehanet.data.cache import cache_root
from ehanet.config import find_weights
from ehanet.data.catalogue import CATALOGUE
from ehanet.files import write_atomically
from ehanet.metrics.scores import read_scores
from ehanet.models import EHANet
from ehanet.models.pretrained import FILE_NAME, read_about, save_weights
from ehanet.records import read_beside, read_record
from ehanet.reporting.wording import dataset_title, in_words
from ehanet.runs import no_checkpoint
from ehanet.scoring import failures, score_rows

CHECKPOINT = "ehanet-universal.safetensors"
WEIGHTS = Path(__file__).resolve().parent.parent / "weights"  # of the clone; an installed package finds it from the clone's folders instead


def find_checkpoint(path: str | Path | None = None) -> Path:
    """The file to load: ``path`` where given, else the clone's weights/ehanet-universal.safetensors, else the one in the user's cache.

    ``path`` may be a .safetensors file, the best.pt of a run, or a folder with a best.pt or a model.safetensors. The clone is where the package lies, or, where that is
    installed elsewhere (on Colab, say), the working folder or the one above it.

    Raises:
        FileNotFoundError: no such file; the message says how to get one, and what a folder without one holds.
    """
    if path is not None:
        given = Path(os.path.expanduser(path))
        places = [given, given / FILE_NAME, given / "best.pt"]
    else:
        places = [folder / CHECKPOINT for folder in (WEIGHTS, Path("weights"), Path("..", "weights"), cache_root() / "weights")]
    for place in places:
        if place.is_file():
            return place
    if path is not None:
        raise FileNotFoundError(_no_checkpoint(given))
    raise FileNotFoundError(f"no checkpoint yet: copy {CHECKPOINT} from the repository's folder weights to {places[-1].parent}, "
                            "or name another: a .safetensors file, or the folder of a run that you trained (runs/.../seed0)")


def _no_checkpoint(given: Path) -> str:
    if (given / "record.json").is_file():
        return no_checkpoint(given)
    if others := sorted(given.glob("*.safetensors")):
        return f"{given} holds no {FILE_NAME} and no best.pt, but {', '.join(path.name for path in others[:8])}; name the file itself: {others[0]}"
    found = f"folder {given} holds no {FILE_NAME} and no best.pt" if given.is_dir() else f"checkpoint {given} not found"
    return f"{found}; give a .safetensors file, or the folder of a run (runs/.../seed0)"


def load_checkpoint_model(path: str | Path | None = None) -> nn.Module:
    """The network of ``find_checkpoint(path)``, in evaluation mode on the CPU, ready for ``ehanet.predict``.

    A run's best.pt may hold any method of the suite; a .safetensors file holds an EHANet.

    Raises:
        FileNotFoundError, ValueError: missing, damaged or foreign; one line that names the file.
    """
    path = find_checkpoint(path)
    if path.suffix in (".pt", ".pth"):
        return restore_model(load_checkpoint(path))[0]
    return EHANet.from_pretrained(path)


def publish_run(run_dir: str | Path, target: str | Path, scores: Iterable[str | Path], name: str = "", trained_on: Iterable[str] = (),
                recipe: Mapping[str, str] | None = None, notes: Iterable[str] = ()) -> EHANet:
    """Write the best checkpoint of a finished run of EHANet to ``target`` (.safetensors, half precision) and its card beside it (.md).

    Args:
        run_dir: holds best.pt and record.json.
        scores: per-image CSVs of this run, one a test split, each with its .json record beside it, as the evaluation step writes them.
        name: of the checkpoint, for the card's title; default: the file's name.
        trained_on: names of the data sets it learned from; default: the one of the run's record.
        recipe: further lines of the card's recipe, name -> text, after those of the run's record.
        notes: further sentences for "Where it fails".

    Returns:
        The network as it was read back from ``target``.

    Raises:
        FileNotFoundError, ValueError: a file is missing or damaged, the run is no EHANet, or scores of another run; one line.
    """
    run_dir, target = Path(run_dir), Path(target)
    if target.suffix != ".safetensors":
        raise ValueError(f"{target}: the checkpoint's file must end in .safetensors")
    model, config = restore_model(load_best(run_dir))
    if not isinstance(model, EHANet):
        raise ValueError(f"{run_dir} holds {config.method}; only EHANet can be published")
    record = read_record(run_dir / "record.json")
    model.about = describe_run(record, scores, trained_on, recipe or {}, notes) | {"name": name or target.stem, "file": target.name}
    save_weights(model, target, half=True)
    write_atomically(target.with_suffix(".md"), str(model.generate_model_card()).rstrip() + "\n")
    return EHANet.from_pretrained(target)


def describe_run(record: dict, scores: Iterable[str | Path], trained_on: Iterable[str] = (), recipe: Mapping[str, str] = {},
                 notes: Iterable[str] = ()) -> dict:
    """What a checkpoint says about itself: run, data, scores, failures, recipe; every number from the record and the CSVs.

    Args:
        record: of the run. scores, trained_on, recipe, notes: as in :func:`publish_run`.
    """
    tested = [_read_scored(Path(path), record) for path in scores]
    names = list(trained_on) or [record["data"]["name"]]
    manifests = {manifest["name"]: manifest for manifest, _ in tested}
    begun, teacher = (read_about(find_weights(file)) if (file := record["config"].get(name)) else {} for name in ("initial_weights", "teacher"))
    earlier = "; ".join(f"{name}: {text}" for name, text in begun.get("recipe", {}).items())
    known = {name: _data(name, manifests.get(name, {})) for name in dict.fromkeys([*names, *manifests])}
    for one in [*begun.get("data", []), *teacher.get("data", [])]:  # what they learned is in it, too
        known.setdefault(one["name"], one)
    return {
        "run": record["id"],
        "code": {key: record["code"].get(key) for key in ("version", "commit")},
        "data": list(known.values()),
        "scores": [row for manifest, frame in tested for row in score_rows(manifest, frame)],
        "warnings": [f"{dataset_title(manifest['name'])}: {'; '.join(told)}." for manifest, _ in tested if (told := manifest.get("warnings"))],
        "failures": [line for manifest, frame in tested for line in failures(manifest, frame)] + list(notes),
        "recipe": {**_recipe(record), **({"Before": earlier} if earlier else {}), **recipe},
    }


def _read_scored(path: Path, run: dict) -> tuple[dict, pd.DataFrame]:
    """Manifest of the data set and scores of a CSV that this run made."""
    frame, record = read_scores(path), read_beside(path)
    if run["id"] not in record.get("inputs", []):
        raise ValueError(f"{path} was scored from run {', '.join(record.get('inputs', [])) or 'unknown'}, not from {run['id']}; evaluate this run first")
    return record["data"], frame


def _data(name: str, manifest: dict) -> dict:
    entry = CATALOGUE.get(name)
    counts = manifest.get("split", {}).get("counts", {})
    return {"name": name, "title": dataset_title(name), "licence": manifest.get("licence") or (entry.licence if entry else "not recorded"),
            "citation": manifest.get("citation") or (entry.citation if entry else ""),
            "counts": ", ".join(f"{count} {part}" for part, count in counts.items()), "content": manifest.get("content", "")[:16],
            "split": manifest.get("split", {}).get("sha256", "")[:16]}


def _loss_words(options: Mapping) -> str:
    """Options of EHANet's loss as people read them."""
    known = {"edge_loss": lambda value: f"the edge by {'cross-entropy' if value == 'bce' else value}", "per_image": lambda value: "Dice of each image" if value else "Dice of the batch",
             "smooth": lambda value: f"a smooth of {100 * value:g} % of the pixels in Dice"}
    return ", ".join(known[name](value) if name in known else f"{name} {in_words(value)}" for name, value in options.items())


def _recipe(record: dict) -> dict[str, str]:
    config, best = record["config"], record.get("best") or {}
    drawn = f" of {images:,} images drawn anew" if (images := config.get("epoch_images")) else ""
    lines = {
        "Encoder": record.get("encoder", "not recorded"),
        "Image side": f"{config['size']} pixels",
        "Optimizer": f"{config['optimizer']}, learning rate {config['learning_rate']:g} ({config['schedule']}), weight decay {config['weight_decay']:g}",
        "Length": f"{config['epochs']} epochs{drawn}, {record.get('steps', '?')} steps of {config['batch_size']} images",
        "Augmentation": config["augmentation"],
        **({"Loss": f"as released, but {_loss_words(options)}"} if (options := config.get("loss_options")) else {}),
        **({"Starts from": f"all weights of {Path(config['initial_weights']).name}"} if config.get("initial_weights") else {}),
        **({"Learned from": f"the masks and the probabilities of {Path(config['teacher']).name}"} if config.get("teacher") else {}),
        **({"Moving average of weights": f"{config['ema']:g}"} if config.get("ema") else {}),
        **({"Scores": "predictions averaged over the four flips, as predict(model, images, flips=True) does"} if config.get("test_flips") else {}),
        "Seed": str(config["seed"]),
        "Selection": f"epoch {best['epoch']}, validation Dice {best['val_dice']:.3f}" if "val_dice" in best else "not recorded",
        "Device": f"{record['device']['name']}, {record.get('seconds', 0) / 3600:.1f} h" if "device" in record else "not recorded",
        "Run": f"record {record['id']}, commit {(record['code'].get('commit') or 'unknown')[:10]}",
    }
    return lines
