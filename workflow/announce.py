"""What ``make paper`` says before it begins: the steps and why they run, what trainings took before, downloads, room on the disk."""

from __future__ import annotations

import shutil
import sys
from collections import defaultdict
from pathlib import Path

from ehanet.config import RunConfig
from ehanet.data.cache import cache_root
from ehanet.data.catalogue import CATALOGUE, parts_of
from ehanet.profiles import Profile, dataset_key
from workflow.kept import recorded
from workflow.plan import Step

RUN_BYTES = 200e6  # checkpoints and probability maps of one training, on average: 16 bytes a parameter, 95 MB for EHANet, 500 MB for U-Net
SHOWN = 40  # steps listed one by one


def announce(profile: Profile, steps: dict[str, Step], reasons: dict[str, str], cores: int) -> None:
    """Which steps run, and why; what their trainings took before; whether the disk has room for them."""
    trainings = [steps[id] for id in reasons if steps[id].kind == "train"]
    new = [step for step in trainings if not Path(step.parameters["run_dir"], "record.json").is_file()]
    print(f"{profile.title}: {len(reasons)} of {len(steps)} steps run on {cores} core{'s' * (cores > 1)}; trainings: {len(trainings)}.")
    for reason in dict.fromkeys(row.reason for row in profile.absent):
        first, *more = [f"{row.dataset}/{row.label}" for row in profile.absent if row.reason == reason]
        print(f"  {first}{f' and {len(more)} more' if more else ''}: {reason}")
    for id in list(reasons)[:SHOWN]:
        print(f"  {id}: {reasons[id]}")
    if len(reasons) > SHOWN:
        print(f"  and {len(reasons) - SHOWN} more")
    if trainings and (told := recorded_time(f"reports/{profile.name}", [step.parameters["config"] for step in trainings])):
        print(told)
    check_disk(Path("."), RUN_BYTES * len(new) + 50e6, f"the report and what trainings keep ({len(new)} to come)",
               "free some, or work in a clone on a larger disk: reports and runs lie in the clone")
    check_disk(cache_root(), sum(_cache_bytes(profile, part) for name in profile.datasets for part in parts_of(name)), "decoded images")
    sys.stdout.flush()


def recorded_time(reports: str, configs: list[dict]) -> str:
    """What trainings of the same settings took by the report's records, a machine after the other, as in "Of 24 trainings, by the records of
    reports/laptop, 12 took 13.9 h in all on AMD EPYC, 1 thread, float32, torch 2.15.0."; "" where it has none."""
    from ehanet.reporting.wording import duration, machine  # takes a second, which make paper spends only where something is trained

    runs, seconds = [RunConfig.from_dict(config) for config in configs], defaultdict(list)
    for run in runs:
        if record := recorded(reports, dataset_key(run.dataset), run):
            seconds[machine(record)].append(record["seconds"])
    told = "; ".join(f"{len(some)} took {duration(sum(some))} in all on {where}" for where, some in seconds.items())
    return f"Of {len(runs)} training{'s' * (len(runs) > 1)}, by the records of {reports}, {told}." if told else ""


def announce_downloads(profile: Profile, downloads: dict) -> None:
    """What is downloaded, its size and licence."""
    for name, archives in downloads.items():
        for archive in archives:
            size = f"{archive.bytes / 1e6:.0f} MB" if archive.bytes else "size not known"
            print(f"Downloads {archive.file_name} of {name} ({size}) into {cache_root()}; {CATALOGUE[name].licence}.")
    pretrained = sorted({run.encoder or run.method for run in profile.runs if run.pretrained})
    if pretrained:
        print(f"Takes ImageNet weights for {', '.join(pretrained)} from timm's cache, or downloads them (about 20 to 100 MB each).")
    if not downloads and not pretrained:
        print("Downloads: none.")


def _cache_bytes(profile: Profile, dataset: str) -> float:
    """Bytes of a data set's decoded images, 0 where they are in the cache already."""
    if any(cache_root().glob(f"datasets/{dataset_key(dataset)}-{profile.size}px-*/manifest.json")):
        return 0
    images = CATALOGUE[dataset].count if dataset in CATALOGUE else 1000
    return 4 * images * profile.size**2


def check_disk(folder: Path, needed: float, what: str, way: str = "free some, or set EHANET_CACHE to a folder on another disk") -> None:
    """Stop before the work begins where the disk has no room for it.

    Args:
        folder: to be written to; it need not be there yet. needed: bytes. what: needs them, for the message. way: out, where they are not free.

    Raises:
        OSError: fewer bytes are free; one line with the way out.
    """
    folder = folder.resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > 5e7:
        print(f"Disk: {what} need up to {needed / 1e9:.1f} GB in {folder}; {free / 1e9:.0f} GB are free.")
    if needed > free:
        raise OSError(f"not enough disk for {what} in {folder}: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free; {way}")
