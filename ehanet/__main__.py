"""Segment images, score the network, export it: ``python -m ehanet predict photo.png``; without a command it lists all there is to run."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ehanet import __version__
from ehanet.config import CHOICES

OTHERS = """other commands (each takes --help):
  python -m ehanet.data              import data sets and say what is in them
  python -m ehanet.steps             run one step notebook with parameters
  python -m ehanet.reporting         the report page of a profile, from its files
  python -m ehanet.reporting.trace   what made a number of a report
  make help                          the whole pipeline: make paper, make test, ...
"""
FLIPS = "average over the four flips of each image: four times the time; no clear gain on our validation images"
PRECISION = "bfloat16 is faster on recent GPUs and CPUs, and nearly the same; auto takes it where it is (default: float32)"
CHECKPOINT = "a .safetensors file, the best.pt of a run, or its folder (default: the shipped ehanet-universal)"


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status: 0; 1 where something could not be done, which is said in one line each."""
    parser = argparse.ArgumentParser(prog="python -m ehanet", description="EHANet: medical image segmentation that looks at edges.",
                                     epilog=OTHERS, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"ehanet {__version__}")
    commands = parser.add_subparsers(metavar="command")
    one = commands.add_parser("predict", help="segment images, folders of images, or patterns", description="A mask (PNG, 0 and 255, the image's size) "
                              "and an overlay for each image. Exit status 1 where an image could not be read.")
    one.add_argument("images", nargs="+", metavar="IMAGES", help="files, folders with all below them (but masks/ beside images/), patterns such as 'scans/*.png'")
    one.add_argument("--checkpoint", metavar="FILE", help=CHECKPOINT)
    one.add_argument("--out", type=_path, default=Path("predictions"), metavar="DIR", help="folder for the results (default: predictions)")
    one.add_argument("--flips", action="store_true", help=FLIPS)
    one.add_argument("--precision", choices=CHOICES["precision"], default="float32", help=PRECISION)
    one.set_defaults(run=_predict)
    one = commands.add_parser("score", help="score the network on images that have masks", description="Dice, IoU, boundary F1 and HD95 at the network's size, with 95 % "
                              "bootstrap intervals, as the reports compute them, and the images that go worst.")
    one.add_argument("dataset", metavar="DATASET", help="a folder with images/ and masks/, files matched by name, or a data set's name or title, such as kvasir-seg or Kvasir-SEG")
    one.add_argument("--source", type=_path, metavar="DIR", help="folder of the archives of a data set that goes by its name")
    one.add_argument("--checkpoint", metavar="FILE", help=CHECKPOINT)
    one.add_argument("--split", choices=("train", "val", "test", "all"), help="which images (default: all of a folder of your own and of a data set that the checkpoint has not learned from, of others the test split)")
    one.add_argument("--out", type=_csv_file, metavar="FILE.csv", help="one row an image with all 20 scores, and a record beside it, FILE.json")
    one.add_argument("--flips", action="store_true", help=FLIPS)
    one.add_argument("--precision", choices=CHOICES["precision"], default="float32", help=PRECISION)
    one.set_defaults(run=_score)
    one = commands.add_parser("export", help="write the network as ONNX", description="An ONNX file for other programs, compared with PyTorch before it is kept.")
    one.add_argument("target", type=_path, metavar="MODEL.onnx")
    one.add_argument("--checkpoint", metavar="FILE", help=CHECKPOINT)
    one.add_argument("--size", type=int, metavar="PIXELS", help="side of the input images (default: the size the checkpoint was trained at)")
    one.set_defaults(run=_export)
    options = parser.parse_args(arguments)
    if not hasattr(options, "run"):
        parser.print_help()
        return 0
    try:
        return options.run(options)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except (RuntimeError, MemoryError) as error:
        from ehanet.devices import out_of_memory

        if not out_of_memory(error):
            raise
        print("error: out of memory; close other programs, or give fewer or smaller images", file=sys.stderr)
        return 1


def _path(text: str) -> Path:
    if not text:  # an unset variable of the shell would mean the folder we are in
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(os.path.expanduser(text))  # the shell leaves the ~ of --out=~/masks as it is


def _csv_file(text: str) -> Path:
    if not text.endswith(".csv"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .csv")
    return _path(text)


def _check_writable(target: Path) -> None:
    """Refuse, before minutes of work, a file that cannot be written after it."""
    from ehanet.files import check_writable

    if target.is_dir():
        raise OSError(f"{target} is a folder; name a file")
    check_writable(target.parent, target)


def _dataset(given: str) -> str:
    """A data set's name, also by the title that tables print; anything else as it is."""
    from ehanet.data import list_datasets
    from ehanet.reporting.wording import dataset_title

    if given in list_datasets() or _path(given).exists():
        return given
    return {text.casefold(): name for name in list_datasets() for text in (name, dataset_title(name))}.get(given.casefold(), given)


def _predict(options: argparse.Namespace) -> int:
    from ehanet.devices import find_device
    from ehanet.folders import predict_files
    from ehanet.hub import find_checkpoint, load_checkpoint_model

    path = find_checkpoint(options.checkpoint)
    model = load_checkpoint_model(path).to(find_device())
    done, problems = predict_files(model, options.images, options.out, options.flips, options.precision)
    print(f"{done} image{'s' * (done != 1)} predicted with {path} into {options.out}" + (f"; {len(problems)} not, see above" if problems else ""))
    return 1 if problems else 0


def _score(options: argparse.Namespace) -> int:
    from ehanet.data import list_datasets, load_dataset
    from ehanet.data.catalogue import parts_of
    from ehanet.devices import find_device
    from ehanet.folders import NETWORK_SIDE
    from ehanet.hub import find_checkpoint, load_checkpoint_model
    from ehanet.scoring import ALL, check_record_place, describe_scores, learned_from, record_place, score_dataset, write_scores

    if not options.dataset:
        raise ValueError("the data set's name is empty; name a folder with images/ and masks/, or . for the current one")
    if options.out:
        _check_writable(options.out)
        check_record_place(options.out)
    path, name = find_checkpoint(options.checkpoint), _dataset(options.dataset)
    model = load_checkpoint_model(path).to(find_device())
    own, learned = name not in list_datasets(), {one.name for one in learned_from(path)}
    unseen = learned.isdisjoint(parts_of(name)) and bool(learned)  # a checkpoint that does not say may have learned from it
    split = options.split or (ALL if own or unseen else "test")
    try:
        data = load_dataset(name, root=options.source, size=getattr(model, "input_size", None) or NETWORK_SIDE,
                            split="none" if own and split == ALL else None)  # one or two images cannot be split
    except FileNotFoundError as error:
        raise FileNotFoundError(str(error).replace("root= (SOURCE=)", "--source")) from error  # what it is called in Python and for make, and here
    frame = score_dataset(model, data, split, options.flips, options.precision)
    if options.out:
        write_scores(options.out, frame, data, path, split=split, flips=options.flips, precision=options.precision)
    print(describe_scores(frame, data, path, split) + (f"\n{len(frame)} rows in {options.out}, their record in {record_place(options.out)}" if options.out else ""))
    return 0


def _export(options: argparse.Namespace) -> int:
    from ehanet.export import export_onnx
    from ehanet.hub import load_checkpoint_model

    _check_writable(options.target)
    print(export_onnx(load_checkpoint_model(options.checkpoint), options.target, options.size))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; what was written so far is whole")
