"""Faults made to happen (kills at random moments: test_kills.py): kills, full and read-only disks, damage, want of memory, NaN. After each, running again gives what an undisturbed run gives."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from archives import discs, encoded, kvasir, make_folder, make_zip, picture

from ehanet import load_run, training
from ehanet.checkpoints import load_checkpoint, save_checkpoint
from ehanet.config import RunConfig
from ehanet.data import load_dataset
from ehanet.evaluation import evaluate_runs
from ehanet.files import write_atomically
from ehanet.history import HISTORY
from ehanet.steps import run_step
from ehanet.training import fit
from workflow.paper import Lock

ROOT = Path(__file__).parents[1]
TINY = """
from ehanet.models.registry import register
from ehanet.models.unet import UNet

@register("tiny")
def tiny(pretrained=False):
    return UNet(2)
"""
exec(TINY)  # here and in the child processes


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Two epochs of a very small U-Net on twenty discs."""
    folder = make_folder(tmp_path_factory.mktemp("own") / "discs", discs(32))
    return RunConfig(method="tiny", dataset=str(folder), size=32, epochs=2, batch_size=8, learning_rate=1e-3, precision="float32", device="cpu")


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """An undisturbed run."""
    return result(config, tmp_path_factory.mktemp("whole") / "run")


def result(config, run_dir):
    """Weights, best epoch and history of the run after ``fit``."""
    fit(config, run_dir, progress=False)
    checkpoint = load_checkpoint(run_dir / "best.pt")
    assert not list(run_dir.glob(".*")), "nothing is left over"
    history = pd.read_csv(run_dir / "history.csv")[[name for name in HISTORY if name != "seconds"]]
    return checkpoint["sha256"], checkpoint["best"], history.to_csv()


def interrupted(config, run_dir, monkeypatch):
    """A run whose epochs are done and whose end is not."""
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training.Trainer, "finish", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        fit(config, run_dir, progress=False)


def flip(path, place=0.5):
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1
    path.write_bytes(data)


def child(code, **options):
    """Start Python with ``code``."""
    return subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def wait_for(happened, seconds=60):
    """Wait until ``happened()``; fails when it does not."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def training_code(config, run_dir):
    return (f"import torch; torch.set_num_threads({torch.get_num_threads()})\n"
            f"{TINY}\n"
            "from ehanet.training import fit; from ehanet.config import RunConfig\n"
            f"fit(RunConfig.from_dict({config.to_dict()!r}), {str(run_dir)!r}, progress=False)")


def test_the_same_seed_gives_the_same_numbers_bit_for_bit(config, whole, tmp_path):
    assert result(config, tmp_path / "again") == whole


@pytest.mark.parametrize("state", [{"model": {"x": torch.arange(1000.0)}, "config": {}, "history": [{"epoch": 1, "loss": 0.1 + 0.2}]}])
def test_a_flipped_bit_in_a_checkpoint_is_found(tmp_path, state):
    path = tmp_path / "a.pt"
    save_checkpoint(path, state)
    assert torch.equal(load_checkpoint(path)["model"]["x"], state["model"]["x"])
    whole = path.read_bytes()
    for place in np.linspace(0.1, 0.9, 9):
        path.write_bytes(whole)
        flip(path, place)
        try:
            found = load_checkpoint(path)
        except ValueError as error:
            assert "a.pt is damaged" in str(error) and "\n" not in str(error)
        else:  # the flip hit padding between the members
            assert torch.equal(found["model"]["x"], state["model"]["x"])
    path.write_bytes(whole.replace(torch.arange(1000.0).numpy().tobytes()[400:800], bytes(400)))
    with pytest.raises(ValueError, match="a.pt is damaged .its content has another SHA-256"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["last.pt", "best.pt"])
def test_a_damaged_checkpoint_is_trained_again(config, whole, tmp_path, monkeypatch, name):
    interrupted(config, tmp_path / "run", monkeypatch)
    flip(tmp_path / "run" / name)
    with pytest.warns(UserWarning, match="a checkpoint is missing or damaged; the training starts anew"):
        assert result(config, tmp_path / "run") == whole


def test_a_finished_run_whose_checkpoint_is_damaged_or_gone_is_refused_and_made_again(config, whole, tmp_path):
    run_dir = tmp_path / "p" / "d" / "l" / "seed0"
    fit(config, run_dir, progress=False)
    record = load_run(run_dir).record
    assert load_run(record["id"], runs=tmp_path).id == "p/d/l/seed0"
    for damage in (flip, lambda path: save_checkpoint(path, {"model": {}, "config": config.to_dict()}), Path.unlink):
        damage(run_dir / "best.pt")
        with pytest.raises((ValueError, FileNotFoundError), match="best.pt (is damaged|is not the one of|not found)"):
            load_run(run_dir)
        with pytest.warns(UserWarning, match="starts anew"):
            assert result(config, run_dir) == whole


def test_a_checkpoint_of_other_settings_or_images_names_the_difference(config, tmp_path, monkeypatch):
    interrupted(config, tmp_path / "run", monkeypatch)
    with pytest.raises(ValueError, match="another configuration .learning_rate: 0.002 here, 0.001 there"):
        fit(RunConfig.from_dict(config.to_dict() | {"learning_rate": 2e-3}), tmp_path / "run", progress=False)
    other = tmp_path / "discs"
    shutil.copytree(config.dataset, other)
    (other / "images" / "3.png").write_bytes(encoded(picture(99, 32, 32), "PNG"))
    state = load_checkpoint(tmp_path / "run" / "last.pt")
    save_checkpoint(tmp_path / "run" / "last.pt", {**{k: v for k, v in state.items() if k != "sha256"}, "config": {**state["config"], "dataset": str(other)}})
    with pytest.raises(ValueError, match="is a run on other images or another split of discs"):
        fit(RunConfig.from_dict(config.to_dict() | {"dataset": str(other)}), tmp_path / "run", progress=False)


def test_a_finished_run_is_not_returned_for_other_images_or_another_split(config, tmp_path):
    place = tmp_path / "discs"
    shutil.copytree(config.dataset, place)
    own, run_dir = RunConfig.from_dict(config.to_dict() | {"dataset": str(place)}), tmp_path / "runs" / "discs" / "ehanet" / "seed0"
    record = fit(own, run_dir, progress=False)
    assert fit(own, run_dir, progress=False) == record
    data = load_dataset(str(place), size=own.size)
    train, test = (data.ids[data.splits[part][0]] for part in ("train", "test"))
    swapped = {image: split for split, indices in data.splits.items() for image in np.array(data.ids)[indices]} | {train: "test", test: "train"}
    (tmp_path / "discs.split.csv").write_text("name,split\n" + "".join(f"{image},{split}\n" for image, split in swapped.items()))
    with pytest.raises(ValueError, match="seed0 is a run on other images or another split of discs"):
        fit(own, run_dir, progress=False)
    rows = [{"method": "ehanet", "label": "ehanet", "seed": 0}]
    with pytest.raises(ValueError, match="seed0 is a run on other images or another split of discs"):
        evaluate_runs(load_dataset(str(place), size=own.size), run_dir.parent.parent, tmp_path / "reports", rows)
    (tmp_path / "discs.split.csv").unlink()
    evaluate_runs(load_dataset(str(place), size=own.size), run_dir.parent.parent, tmp_path / "reports", rows)


def test_weights_that_turn_nan_never_replace_the_good_checkpoint(config, whole, tmp_path, monkeypatch):
    real = training.Trainer._validate
    with monkeypatch.context() as patch:
        patch.setattr(training.Trainer, "_validate", lambda self: (float("nan"), 0.0) if self.epoch == 1 else real(self))
        with pytest.raises(ValueError, match="validation loss is nan after epoch 2; the last good checkpoint is kept"):
            fit(config, tmp_path / "run", progress=False)
    assert load_checkpoint(tmp_path / "run" / "last.pt")["epoch"] == 1
    assert result(config, tmp_path / "run") == whole


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), MemoryError(),
                                   RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")])
def test_out_of_memory_stops_with_advice_and_goes_on_later(config, whole, tmp_path, monkeypatch, error):
    real = training.Trainer.step

    def step(self, *arguments):
        if self.epoch == 1:
            raise error
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(training.Trainer, "step", step)
        with pytest.raises(ValueError, match="cpu is out of memory in epoch 2 with batches of 8 images of 32 px; .* smaller batch_size") as caught:
            fit(config, tmp_path / "run", progress=False)
    assert "\n" not in str(caught.value)
    assert result(config, tmp_path / "run") == whole


def test_a_disk_that_is_full_stops_the_training_and_nothing_is_lost(config, whole, tmp_path):
    """RLIMIT_FSIZE: a file that grows beyond it meets the error of a full quota."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # noqa: E731 (a checkpoint has 150 kB)
    process = child(training_code(config, tmp_path / "run"), preexec_fn=limit)
    said = process.communicate()[1]
    assert process.returncode == 1
    assert f"{tmp_path / 'run' / 'best.pt'} cannot be written (File too large); free space" in said.splitlines()[-1]
    assert not list((tmp_path / "run").glob("*.pt")) and not list((tmp_path / "run").glob(".*"))
    assert result(config, tmp_path / "run") == whole


def test_a_read_only_folder_is_one_line():
    folder = Path(tempfile.mkdtemp(prefix="ehanet-read-only-"))
    folder.chmod(0o555)
    user, here = os.geteuid(), Path.cwd()
    try:
        os.chdir(folder)
        if user == 0:
            os.seteuid(65534)  # root may write anywhere
        for action in (lambda: write_atomically(folder / "a.txt", "x"), lambda: Lock("quick").__enter__()):
            with pytest.raises(OSError, match="(a.txt|runs/quick/.lock) cannot be written .Permission denied.; ") as caught:
                action()
            assert "\n" not in str(caught.value)
    finally:
        os.seteuid(user)
        os.chdir(here)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_kill_in_a_notebook_leaves_no_result_and_no_process(tmp_path):
    from test_workflow_steps import write_notebook

    notebook = write_notebook(tmp_path / "step.ipynb", "seconds: float = 60.0", f"import os, time; open({str(tmp_path / 'kernel')!r}, 'w').write(str(os.getpid())); "
                              "time.sleep(seconds); print('done')")
    output = tmp_path / "out" / "step.ipynb"
    process = child(f"from ehanet.steps import run_step; run_step({str(notebook)!r}, {{}}, {str(output)!r})")
    wait_for(lambda: (tmp_path / "kernel").is_file() and (tmp_path / "kernel").read_text())
    process.kill()
    process.wait()
    wait_for(lambda: not psutil.pid_exists(int((tmp_path / "kernel").read_text())), 20)
    assert not output.exists()
    run_step(notebook, {"seconds": 0.0}, output)
    assert [path.name for path in output.parent.iterdir()] == ["step.ipynb"] and "done" in output.read_text()


def test_a_kill_in_the_cache_s_building_leaves_nothing_that_is_believed(tmp_path, fresh_cache, monkeypatch):
    root = tmp_path / "root"
    make_zip(root / "kvasir-seg.zip", kvasir([f"p{number}" for number in range(6)]))
    code = ("import time, ehanet.data.dataset as d; real = d.decode_sample\n"
            "def slow(*arguments): time.sleep(0.5); return real(*arguments)\n"
            f"d.decode_sample = slow; d.os.cpu_count = lambda: 1; d.load_dataset('kvasir-seg', root={str(root)!r}, size=32)")
    process = child(code)
    wait_for(lambda: list((fresh_cache / "datasets").glob(".building-*/images.npy")))
    process.kill()
    process.wait()
    assert [path.name[:9] for path in (fresh_cache / "datasets").iterdir()] == [".building"]
    data = load_dataset("kvasir-seg", root=root, size=32)
    assert len(list((fresh_cache / "datasets").iterdir())) == 1, "what the kill left is swept"
    monkeypatch.setenv("EHANET_CACHE", str(tmp_path / "another"))
    again = load_dataset("kvasir-seg", root=root, size=32)
    assert data.manifest == again.manifest and np.array_equal(data.images, again.images)


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
def test_the_front_door_takes_snakemake_and_its_jobs_with_it(tmp_path, sign):
    (tmp_path / "workflow").mkdir()
    mark = f"{random.random():.9f}"
    (tmp_path / "workflow" / "Snakefile").write_text(f"rule all:\n    output: 'never'\n    shell: 'sleep 9{mark[2:5]}.{mark[2:]}'\n")
    process = child(f"import os; os.chdir({str(tmp_path)!r}); from pathlib import Path; from workflow.paper import Lock, _snakemake\n"
                    "with Lock('x') as lock: _snakemake(Path('plan.json'), 1, lock)")
    jobs = lambda: [p for p in psutil.process_iter(["cmdline"]) if f"9{mark[2:5]}.{mark[2:]}" in " ".join(p.info["cmdline"] or [])]  # noqa: E731
    wait_for(jobs)
    process.send_signal(sign)
    process.wait()
    wait_for(lambda: not jobs(), 15)
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        wait_for(lambda: _free("x"), 15)
    finally:
        os.chdir(here)


def _free(name):
    try:
        with Lock(name):
            return True
    except ValueError:
        return False
