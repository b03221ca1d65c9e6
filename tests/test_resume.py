"""Runs taken up again where the files of the run before do not fit together or not here."""

from dataclasses import replace

import pytest
import torch
from archives import discs, make_folder

from ehanet.checkpoints import load_checkpoint
from ehanet.config import RunConfig
from ehanet.data import load_dataset
from ehanet.models.folding import drop_idle_biases
from ehanet.training import Trainer, fit


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Two epochs of EHANet on twenty discs."""
    folder = make_folder(tmp_path_factory.mktemp("own") / "discs", discs(32))
    return RunConfig(dataset=str(folder), size=32, epochs=2, batch_size=8, learning_rate=2e-3, precision="float32", device="cpu")


def test_a_kill_between_the_two_checkpoints_leaves_record_and_best_of_one_epoch(config, tmp_path, monkeypatch):
    """best.pt of epoch 2 is written, last.pt is not; where the repeated epoch comes out lower, the first one's score stands with its weights."""
    data = load_dataset(config.dataset, size=32)
    dice = iter([0.5, 0.6, 0.4])
    monkeypatch.setattr(Trainer, "_validate", lambda self: (1.0, next(dice)))
    trainer = Trainer(config, data, tmp_path)
    trainer.resume()
    trainer.run_epoch()
    trainer.save.wait()
    before = (tmp_path / "last.pt").read_bytes()
    trainer.run_epoch()
    trainer.save.wait()
    (tmp_path / "last.pt").write_bytes(before)
    record = fit(config, tmp_path, progress=False)
    assert record["best"]["epoch"] == load_checkpoint(tmp_path / "best.pt")["epoch"] == 2 and record["best"]["val_dice"] == 0.6


def test_a_run_of_another_kind_of_device_is_refused_in_one_line(config, tmp_path):
    """On CUDA biases that a batch norm takes away again are not trained, so that the optimizer's state has other places."""
    data = load_dataset(config.dataset, size=32)
    there = Trainer(config, data, tmp_path)
    drop_idle_biases(there.model, torch.zeros(1, 3, 32, 32))
    there.trained = [parameter for parameter in there.model.parameters() if parameter.requires_grad]
    there.optimizer = torch.optim.AdamW(there.trained)
    there.schedule = torch.optim.lr_scheduler.LambdaLR(there.optimizer, lambda step: 1.0)
    there.resume()
    there.run_epoch()
    there.save.wait()
    with pytest.raises(ValueError, match=r"was begun on another kind of device than cpu .*\(\d+ trained parameters there, \d+ here\); go on there, or remove the folder"):
        fit(config, tmp_path, progress=False)


def test_another_precision_is_refused_and_other_threads_are_told(config, tmp_path, monkeypatch):
    """Half a run in bfloat16 would be neither; other threads move the last digits alone."""
    auto = replace(config, precision="auto")
    there = Trainer(replace(auto, precision="bfloat16"), load_dataset(config.dataset, size=32), tmp_path)
    there.config = auto  # what "auto" takes on a processor that is fast at it
    there.resume()
    there.run_epoch()
    there.save.wait()
    monkeypatch.setattr("ehanet.training.compute_dtype", lambda precision, device: torch.float32)
    with pytest.raises(ValueError, match="its first 1 epochs were computed in bfloat16 on cpu, here it would be float32 on cpu; go on there, or remove the folder to begin anew"):
        fit(auto, tmp_path, progress=False)
    threads = torch.get_num_threads()
    here = Trainer(auto, there.dataset, tmp_path / "here")
    here.resume()
    here.run_epoch()
    here.save.wait()
    torch.set_num_threads(threads + 1)
    try:
        warned = fit(auto, tmp_path / "here", progress=False)["warnings"]
    finally:
        torch.set_num_threads(threads)
    assert [line for line in warned if f"after epoch 1 the training went on with {here.arithmetic['name']}, {threads + 1} threads, torch {torch.__version__}, begun with " in line]


def test_two_trainings_in_one_folder_are_refused(config, tmp_path):
    """The second one asks while the first is in its first epoch; the first one's run is whole afterwards."""
    def begin_another() -> bool:
        with pytest.raises(ValueError, match=r"run: another training is running in this folder; wait for it, or choose another folder$"):
            fit(config, tmp_path / "run", progress=False)
        return False

    record = fit(config, tmp_path / "run", progress=False, stop=begin_another)
    assert record["steps"] == fit(config, tmp_path / "other", progress=False)["steps"] and fit(config, tmp_path / "run", progress=False) == record
