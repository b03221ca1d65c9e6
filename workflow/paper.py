"""The front door behind ``make paper``: says what will run and why, checks disk and data, and lets Snakemake run it.

    python -m workflow.paper run --profile quick
    python -m workflow.paper plan --profile laptop --source ../shared/data
    python -m workflow.paper report --profile laptop
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ehanet.config import RunConfig
from ehanet.data.cache import cache_root
from ehanet.data.catalogue import CATALOGUE
from ehanet.data.download import download_dataset, missing_archives
from ehanet.profiles import Profile, dataset_key, load_profile
from ehanet.steps import StepError
from workflow import preflight
from workflow.announce import SHOWN, announce, announce_downloads, check_disk
from workflow.gpus import SHARE, find_gpus, gpu_share
from workflow.kept import check_kept_weights, kept_id
from workflow.kinds import FROM_SCORES, OUTPUTS, notebook_of
from workflow.plan import Step, make_plan, published_sets, to_run, write_plan
from workflow.processes import PARENT
from workflow.removed import forget_removed

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = Path(os.environ.get("EHANET_PLUGINS") or Path(sys.prefix, "slurm")).absolute()  # what make installs for EXECUTOR=slurm


@dataclass(frozen=True)
class Cluster:
    """How to reach Slurm: further options for Snakemake, after those of ``workflow/slurm/config.yaml``."""

    options: list[str]

    @classmethod
    def of(cls, options: argparse.Namespace) -> Cluster | None:
        """What --executor and its companions ask for; None without them."""
        if options.executor in ("", "local"):
            return None
        if options.executor != "slurm":
            raise ValueError(f"EXECUTOR: {options.executor!r} is none of local, slurm")
        if not PLUGINS.is_dir() or shutil.which("sbatch") is None:
            raise ValueError("EXECUTOR=slurm: " + ("no sbatch here; run it on a login node of the cluster" if PLUGINS.is_dir() else f"{PLUGINS} is missing; run it by make"))
        given = {"slurm_account": options.account, "slurm_partition": options.partition}
        defaults = [f"{key}={value!r}" for key, value in given.items() if value]  # quoted: Snakemake takes all for Python's
        try:
            further = shlex.split(options.slurm)
        except ValueError as error:
            raise ValueError(f"SLURM: {options.slurm!r} cannot be read ({error})") from None
        return cls([*(["--default-resources", "mem_mb=16000", "runtime=240", *defaults] if defaults else []), *further])


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status; what goes wrong is said in one line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["run", "plan", "report"])
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--source", default="", help="folder of archives or unpacked folders of the real data sets")
    parser.add_argument("--weights", default="", help="folder of encoder weights; default: weights beside the source folder")
    parser.add_argument("--set", default="", dest="overrides", help="'key=value ...' in place of the profile's settings")
    parser.add_argument("--jobs", default="", help="processor cores to use; default: all")
    parser.add_argument("--share", default="", help="trainings side by side on each GPU; default: 1")
    parser.add_argument("--keep", default="", help="1: keep the finished runs that the report holds")
    parser.add_argument("--executor", default="", help="slurm, for a cluster; default: this machine")
    parser.add_argument("--account", default="", help="of Slurm")
    parser.add_argument("--partition", default="", help="of Slurm")
    parser.add_argument("--slurm", default="", help="further options for Snakemake on Slurm")
    options = parser.parse_args(arguments)
    try:
        cluster = Cluster.of(options)
        for name, given, what in (("JOBS", options.jobs, "processor cores to use"), ("SHARE", options.share, "trainings side by side on each GPU")):
            if given and not (given.isdecimal() and int(given)):
                raise ValueError(f"{name}: expected a number of {what}, got {given!r}")
        if options.keep not in ("", "0", "1"):
            raise ValueError(f"KEEP: expected 1, or nothing, got {options.keep!r}")
        if cluster and options.share:
            raise ValueError("SHARE: on a cluster each training is a job with a GPU of its own; leave it out")
        os.environ[SHARE] = options.share or "1"
        profile = load_profile(options.profile, options.overrides, weights_folder(options.weights, options.source))
        if profile.weights:
            os.environ["EHANET_WEIGHTS"] = str(profile.weights.resolve())  # for the steps' processes
        if options.command == "report":
            return report(profile)
        return paper(profile, options.source or None, int(options.jobs or os.cpu_count() or 1), only_plan=options.command == "plan", keep=options.keep == "1",
                     cluster=cluster)
    except (ValueError, OSError, StepError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. make paper goes on where it stopped.", file=sys.stderr)
        return 130


def paper(profile: Profile, source: str | None, cores: int, only_plan: bool = False, keep: bool = False, cluster: Cluster | None = None) -> int:
    """Plan, explain and run a profile, here or on a cluster; with ``only_plan`` nothing but its lock is written, with ``keep`` no run that the report holds is
    trained again."""
    reports = f"reports/{profile.name}"
    page = f"{reports}/index.html"
    if keep:
        profile = profile.with_kept(lambda run: kept_id(reports, dataset_key(run.dataset), run) is not None)
    if profile.absent and not profile.runs:
        way = ""
        if profile.settings.get("encoder_weights"):  # a start holds every weight, in the layout of the encoder's file
            keras = profile.settings.get("initial_weights") and profile.settings.get("encoder") == "mobilenetv1_100"
            way = "; SET='encoder_weights=null encoder=mobilenetv1_100.keras' trains the same without it" if keras else "; SET='encoder_weights=null pretrained=true' takes timm's own"
        raise FileNotFoundError(f"none of the {len(profile.absent)} rows of {profile.name} can be trained: {profile.absent[0].reason.removeprefix('not available: ')}{way}")
    with Lock(profile.name) as lock:
        published = published_sets(profile)
        downloads = {} if source else {name: archives for name in published if (archives := missing_archives(name))}
        if byhand := [name for name, archives in downloads.items() if any(archive.url is None for archive in archives)]:
            ways = "; ".join(f"{name}: {CATALOGUE[name].how_to_get}" for name in byhand)
            raise FileNotFoundError(f"{' and '.join(byhand)} cannot be downloaded directly ({ways}); give SOURCE= the folder that holds all archives, "
                                    "or SET='datasets=[...]' without it")
        if source and not published:
            print(f"SOURCE is not used: {profile.name} has no published data set; PROFILE=laptop has.")
        announce_downloads(profile, downloads)
        if only_plan and downloads:
            return 0
        check_disk(cache_root(), sum(archive.bytes or 0 for archives in downloads.values() for archive in archives), "the downloads")
        for name in downloads:
            download_dataset(name)
        steps = make_plan(profile, source, keep)
        reasons = to_run(steps)
        if not reasons:
            print(f"Nothing to run: all {len(steps)} steps of {profile.name} are up to date. The report: {page}")
            return 0
        announce(profile, steps, reasons, cores)
        trainings = [steps[id].parameters["config"] for id in reasons if steps[id].kind == "train"]
        if keep:
            check_kept_weights(profile, reports, [RunConfig.from_dict(config) for config in trainings])
        preflight.check(trainings)
        if only_plan:
            return 0
        forget_removed(profile, steps)
        for id in reasons:
            Path(steps[id].stamp).unlink(missing_ok=True)
        plan = Path("runs", profile.name, "plan.json")
        write_plan(plan, profile, steps, cores)
        status = _snakemake(plan, cores, lock, cluster)
    left = to_run(steps)
    if status or left:
        why = f"Snakemake was ended by signal {-status}" if status < 0 else f"{_failed(steps, left)}; the line that names a step says why"
        print(f"Stopped: {len(reasons) - len(left)} of {len(reasons)} steps are done; {why}. make paper goes on from there.", file=sys.stderr)
        return 1
    print(f"Done. The report: {page}")
    return 0


def _failed(steps: dict[str, Step], left: dict[str, str]) -> str:
    """What of the steps that are left was not kept from running by a step before it."""
    failed = [id for id in left if not any(before in left for before in steps[id].upstream)]
    return f"{', '.join(failed[:SHOWN])}{f' and {len(failed) - SHOWN} more' if failed[SHOWN:] else ''} failed"


def report(profile: Profile) -> int:
    """Tables, plots of scores and page again from the CSV files in ``reports``; trains and predicts nothing, keeps the pictures of images.

    Of the studies those whose tables need the CSV files alone; edges, failures and what is inside need the stored maps: ``make paper KEEP=1``.
    """
    from ehanet.reporting import cross_report, robustness_report
    from ehanet.steps import run_step
    from workflow.step import make_page

    reports = f"reports/{profile.name}"
    datasets = sorted(path.parent.name for path in Path(reports, "scores").glob("*/methods.json"))
    if not datasets:
        raise FileNotFoundError(f"{reports}/scores holds no scores; run make paper PROFILE={profile.name} first")
    with Lock(profile.name):
        for dataset in datasets:
            for kind in ["compare", *(study for study in FROM_SCORES if Path(reports, OUTPUTS[study][0].format(dataset=dataset)).is_file())]:
                notebook = notebook_of(kind)
                seconds = run_step(notebook, {"reports": reports, "dataset": dataset}, Path(reports, "notebooks", f"{notebook.stem}__{dataset}.ipynb"))
                print(f"done  {kind}/{dataset}  {seconds:.0f} s", flush=True)
            if Path(reports, "robustness", f"{dataset}.csv").is_file():
                robustness_report(reports, dataset)
            for crossed in sorted(Path(reports, "robustness").glob(f"{dataset}__on__*.json")):
                cross_report(reports, dataset, crossed.stem.removeprefix(f"{dataset}__on__"))
        make_page(reports, profile.title)
    print(f"Done. The report: {reports}/index.html")
    return 0


class Lock:
    """One ``make paper`` a profile, or ``make repeat`` a run, and clone; the kernel lets go when the last process that holds it ends, however it ends.

    Args:
        wait: for the other one, in place of refusing.
    """

    def __init__(self, name: str, wait: bool = False):
        self.path, self.wait = Path("runs", name, ".lock"), wait

    def __enter__(self):
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = open(self.path, "a+")
        except OSError as error:
            raise OSError(error.errno, f"{self.path} cannot be written ({error.strerror}); it needs a clone that it may write to") from error
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.file.seek(0)
            running = f"another make paper or make repeat of {self.path.parent.name} is running here (process {self.file.read().strip() or 'unknown'})"
            if not self.wait:
                raise ValueError(f"{running}; wait for it or stop it") from None
            print(f"Waiting: {running}.", flush=True)
            fcntl.flock(self.file, fcntl.LOCK_EX)
        self.file.truncate(0)
        self.file.write(f"{os.getpid()}\n")
        self.file.flush()
        return self

    def __exit__(self, *_):
        self.file.close()


def _snakemake(plan: Path, cores: int, lock: Lock, cluster: Cluster | None = None) -> int:
    """Run Snakemake on the plan. It inherits our lock, so its own lock, which a kill would leave behind, is not needed; and it ends with us.
    A step that fails stops what follows from it alone: the night's other trainings go on."""
    command = [sys.executable, "-m", "workflow.processes", "--snakefile", "workflow/Snakefile", "--config", f"plan={plan}",
               "--rerun-triggers", "params", "--rerun-incomplete", "--nolock", "--keep-going", "--scheduler", "greedy", "--quiet", "all"]
    path = [str(ROOT)]
    if cluster:
        command += ["--workflow-profile", "workflow/slurm", "--executor", "slurm", *cluster.options]
        path.append(str(PLUGINS))
    else:
        command += ["--cores", str(cores), "--resources", f"gpu={len(find_gpus()) * gpu_share() or cores}"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1", PARENT: str(os.getpid())}
    return subprocess.run(command, pass_fds=[lock.file.fileno()], env=environment).returncode


def weights_folder(weights: str, source: str) -> str | None:
    """The folder of weights files: WEIGHTS, else weights beside SOURCE where there is one, else what EHANET_WEIGHTS names."""
    if weights:
        folder = Path(os.path.expanduser(weights))
        if not folder.is_dir():
            raise FileNotFoundError(f"WEIGHTS: folder {weights} not found")
        return str(folder)
    beside = Path(os.path.expanduser(source)).parent / "weights" if source else None
    return str(beside) if beside and beside.is_dir() else os.path.expanduser(os.environ.get("EHANET_WEIGHTS", "")) or None


if __name__ == "__main__":
    sys.exit(main())
