"""Kill -9 at random moments, many times and counted (pytest -rP shows the counts): nothing is lost, nothing half-written is believed, and the end is that of an undisturbed run."""

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from archives import discs, kvasir, make_folder, make_zip
from test_data_download import CONTENT, SHA256, server  # noqa: F401 (a fixture)
from test_workflow_steps import write_notebook

from ehanet.checkpoints import load_checkpoint
from ehanet.data.cache import read_entry
from ehanet.files import file_sha256
from ehanet.history import HISTORY
from ehanet.records import read_record

ROOT = Path(__file__).parents[1]
NURSERY = """
import os, sys, traceback
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        os.dup2(2, 1)
        try:
            exec(eval(line))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""
TINY = """
import torch, torch.utils.tensorboard
torch.set_num_threads(1)
from ehanet.config import RunConfig
from ehanet.models.registry import register
from ehanet.models.unet import UNet
from ehanet.training import fit

@register("tiny")
def tiny(pretrained=False):
    return UNet(2)
"""


class Nursery:
    """A process that has imported what a job needs and forks a child for each, so that kills fall into the work and not into the imports."""

    def __init__(self, imports: str, work: str):
        self.work, self.kills, self.random = work, 0, random.Random(0)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen([sys.executable, "-c", imports + NURSERY], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def start(self, seconds: float | None = None, **names) -> bool:
        """Do the work with these names in a child, killed after so many seconds; whether it came to its end."""
        self.process.stdin.write(repr("\n".join([*(f"{name} = {value!r}" for name, value in names.items()), self.work])) + "\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        if seconds is not None and not select.select([self.process.stdout], [], [], seconds)[0]:
            os.kill(pid, signal.SIGKILL)
        status = int(self.process.stdout.readline())
        assert status in (0, signal.SIGKILL), "the work fails after a kill; see its traceback above"
        self.kills += status != 0
        return status == 0

    def undisturbed(self, **names) -> None:
        """Do the work and note the seconds that it takes; the second time counts, when all is warm."""
        started = time.monotonic()
        assert self.start(**names)
        self.whole = time.monotonic() - started

    def disturbed(self, sound, **names) -> None:
        """Kill and begin again up to four times, then leave the work alone; after each kill ``sound()`` looks at what lies there."""
        for _ in range(4):
            started = time.monotonic()
            if self.start(self.random.uniform(0, self.whole), **names):
                self.whole = min(self.whole, time.monotonic() - started)  # on a busy machine the noted time may be far too long
                return
            sound()
        assert self.start(**names)


def content(folder: Path) -> dict[str, str]:
    """Every file below a folder and the hash of its bytes."""
    return {str(path.relative_to(folder)): file_sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def report(nursery: Nursery, runs: int, what: str) -> None:
    print(f"{what}: {nursery.kills} kills in {runs} runs, nothing lost, no difference from an undisturbed run")
    assert nursery.kills >= runs, "hardly a kill fell into the work"


@pytest.mark.slow
def test_training(tmp_path):
    config = {"method": "tiny", "dataset": str(make_folder(tmp_path / "discs", discs(32))), "size": 32, "epochs": 6, "batch_size": 8, "learning_rate": 1e-3,
              "precision": "float32", "device": "cpu"}

    def result(folder):
        checkpoint, record = load_checkpoint(folder / "best.pt"), read_record(folder / "record.json")
        assert record["checkpoint_sha256"] == checkpoint["sha256"] and not list(folder.glob(".*"))
        return checkpoint["sha256"], checkpoint["best"], pd.read_csv(folder / "history.csv")[[name for name in HISTORY if name != "seconds"]].to_csv()

    def sound():
        for name in ("best.pt", "last.pt"):
            if (folder / name).exists():
                load_checkpoint(folder / name)
        if (folder / "record.json").exists():
            result(folder)

    with Nursery(TINY, "fit(RunConfig.from_dict(config), folder, progress=False)") as nursery:
        nursery.undisturbed(config=config, folder=str(tmp_path / "first"))
        nursery.undisturbed(config=config, folder=str(tmp_path / "whole"))
        expected, runs = result(tmp_path / "whole"), 0
        while nursery.kills < 30:
            folder = tmp_path / str(runs)
            nursery.disturbed(sound, config=config, folder=str(folder))
            assert result(folder) == expected
            runs += 1
        report(nursery, runs, "training")


@pytest.mark.slow
def test_a_step_s_notebook(tmp_path):
    notebook = write_notebook(tmp_path / "step.ipynb", "number: int = 7", "import time; time.sleep(0.5); print(number ** 2)")

    def result(file):
        assert [path.name for path in file.parent.iterdir()] == [file.name]
        return [output["text"] for cell in json.loads(file.read_text())["cells"] for output in cell.get("outputs", [])]

    def sound():
        assert not file.exists() or "49" in "".join(sum(result(file), []))

    with Nursery("from ehanet.steps import run_step\nimport papermill", "run_step(notebook, {}, file)") as nursery:
        nursery.undisturbed(notebook=str(notebook), file=str(tmp_path / "first" / "step.ipynb"))
        nursery.undisturbed(notebook=str(notebook), file=str(tmp_path / "whole" / "step.ipynb"))
        expected, runs = result(tmp_path / "whole" / "step.ipynb"), 0
        while nursery.kills < 12:
            file = tmp_path / str(runs) / "step.ipynb"
            nursery.disturbed(sound, notebook=str(notebook), file=str(file))
            assert result(file) == expected
            runs += 1
        report(nursery, runs, "a step's notebook")


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.slow)])
def test_the_building_of_the_cache(tmp_path, kills):
    root = tmp_path / "root"
    make_zip(root / "kvasir-seg.zip", kvasir([f"p{number}" for number in range(12)]))

    def sound():
        for entry in (cache / "datasets").glob("[!.]*"):
            assert read_entry(entry) is not None

    work = "os.environ['EHANET_CACHE'] = cache; load_dataset('kvasir-seg', root=root, size=128)"
    with Nursery("from ehanet.data import load_dataset", work) as nursery:
        nursery.undisturbed(root=str(root), cache=str(tmp_path / "first"))
        nursery.undisturbed(root=str(root), cache=str(tmp_path / "whole"))
        expected, runs = content(tmp_path / "whole" / "datasets"), 0
        while nursery.kills < kills:
            cache = tmp_path / str(runs)
            nursery.disturbed(sound, root=str(root), cache=str(cache))
            assert content(cache / "datasets") == expected, "the same bytes, and nothing beside them"
            runs += 1
        report(nursery, runs, "the cache's building")


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_a_download(tmp_path, server, monkeypatch, kills):  # noqa: F811
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server["pause"] = 0.02

    def sound():
        assert not target.exists() or target.read_bytes() == CONTENT
        arrived.extend(part.stat().st_size for part in target.parent.glob("*.part"))

    with Nursery("from pathlib import Path\nfrom ehanet.data.download import download", "download(url, Path(target), sha256)") as nursery:
        nursery.undisturbed(url=server["url"], target=str(tmp_path / "first.zip"), sha256=SHA256)
        nursery.undisturbed(url=server["url"], target=str(tmp_path / "whole.zip"), sha256=SHA256)
        runs, resumed = 0, 0
        while nursery.kills < kills:
            target, arrived = tmp_path / str(runs) / "data.zip", []
            nursery.disturbed(sound, url=server["url"], target=str(target), sha256=SHA256)
            assert content(target.parent) == {"data.zip": SHA256}
            if arrived and 0 < arrived[-1] < len(CONTENT):
                assert server["requests"][-1].get("Range") == f"bytes={arrived[-1]}-", "what had arrived was kept"
                resumed += 1
            runs += 1
        assert resumed
        report(nursery, runs, f"a download ({resumed} of them resumed)")
