"""Recordings for a GPU: the bookkeeping with a stand-in for the GPU, the numbers on a real one."""

import warnings
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch

from ehanet import build_model, predict
from ehanet.config import RunConfig
from ehanet.data import load_dataset
from ehanet.graphs import SHAPES, WARM_UP, Recorded, recorded
from ehanet.training import Trainer

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.fixture
def stand_in(monkeypatch):
    """A GPU of which a recording remembers what the function did to the places of its arguments."""
    state = {"recording": None, "recorded": 0}

    class Graph:
        def replay(self):
            self.again()

    class Stream:
        def wait_stream(self, other):
            pass

    @contextmanager
    def graph(recording):
        state["recording"], state["recorded"] = recording, state["recorded"] + 1
        yield
        state["recording"] = None

    for name, value in {"CUDAGraph": Graph, "Stream": Stream, "current_stream": Stream, "graph": graph, "stream": lambda stream: nullcontext()}.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    return state


def doubled(state, calls):
    def function(x):
        calls.append(x)
        out = x * 2
        if state["recording"] is not None:
            state["recording"].again = lambda: out.copy_(x * 2)
        return [out, None]
    return function


def test_it_is_recorded_after_the_warm_up_and_replayed_on_new_inputs(stand_in):
    calls = []
    work = Recorded(doubled(stand_in, calls))
    for value in range(WARM_UP + 4):
        found, nothing = work(torch.full((2,), float(value)))
        assert found.tolist() == [2.0 * value] * 2 and nothing is None
    assert len(calls) == WARM_UP + 1 and stand_in["recorded"] == 1


def test_each_shape_has_its_own_recording_up_to_a_limit(stand_in):
    calls = []
    work = Recorded(doubled(stand_in, calls))
    for _ in range(WARM_UP + 2):
        for side in range(1, SHAPES + 3):
            assert work(torch.ones(side))[0].tolist() == [2.0] * side
    assert stand_in["recorded"] == SHAPES


def test_what_cannot_be_recorded_runs_as_written_and_says_so(stand_in):
    def waits(x):
        if stand_in["recording"] is not None:
            stand_in["recording"] = None
            raise RuntimeError("operation not permitted when stream is capturing")
        return [x + 1]

    work = Recorded(waits)
    for value in range(WARM_UP):
        assert work(torch.tensor([float(value)]))[0].item() == value + 1
    with pytest.warns(UserWarning, match="runs step by step .operation not permitted"):
        assert work(torch.tensor([5.0]))[0].item() == 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert work(torch.tensor([7.0]))[0].item() == 8


def test_running_out_of_memory_is_not_hidden(stand_in):
    def greedy(x):
        if stand_in["recording"] is not None:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [x]

    work = Recorded(greedy)
    for _ in range(WARM_UP):
        work(torch.ones(1))
    with pytest.raises(torch.OutOfMemoryError):
        work(torch.ones(1))


def test_other_devices_run_the_function_itself():
    function = doubled({"recording": None}, [])
    assert recorded(function, torch.device("cpu")) is function


@needs_cuda
@pytest.mark.parametrize("method", ["ehanet", "unet-32", "lanet", "pranet"])
def test_training_from_recordings_gives_the_numbers_of_training_as_written(method, tmp_path, monkeypatch):
    data = load_dataset("phantom-polyp", size=64)
    config = RunConfig(method=method, size=64, batch_size=24, augmentation="flips", ema=0.9, precision="float32", epochs=3)  # 256 images: a last batch of 16
    found = {}
    for way, warm_up in (("recorded", 2), ("written", 10**6)):
        monkeypatch.setattr("ehanet.graphs.WARM_UP", warm_up)
        trainer = Trainer(config, data, tmp_path / way)
        trainer.resume()
        rows = [trainer.run_epoch() for _ in range(3)]
        found[way] = [row["train_loss"] for row in rows] + [row["val_loss"] for row in rows]
        assert bool(trainer.gradients.recordings) == (way == "recorded") and None not in trainer.gradients.recordings.values()
    np.testing.assert_allclose(found["recorded"], found["written"], rtol=0.05)  # sums on a GPU change their order from run to run


@needs_cuda
def test_predictions_from_recordings_are_those_of_the_network(tmp_path):
    model = build_model("ehanet").eval().cuda()
    images = np.random.default_rng(0).integers(0, 256, (100, 64, 64, 3), dtype=np.uint8)
    with torch.no_grad():
        expected = torch.cat([model(torch.from_numpy(part).cuda().permute(0, 3, 1, 2).float() / 255).logits.sigmoid()[:, 0] for part in np.split(images, 10)])
    np.testing.assert_allclose(predict(model, images), expected.cpu().numpy(), atol=5e-3)  # tensor cores round products to ten bits
