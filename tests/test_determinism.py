"""What the README promises of other machines, thread counts and versions: figures computed once (Linux x86-64, torch 2.15, one thread), and how far others may lie from them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from archives import discs, make_folder

from ehanet import EHANet, predict
from ehanet.config import RunConfig
from ehanet.data import load_dataset
from ehanet.training import fit

WEIGHTS = Path(__file__).parents[1] / "weights" / "ehanet-universal.safetensors"
PROBABILITIES = [0.0564538, 0.1465837, 0.0982227, 0.1620574]  # mean over the image, of the shipped checkpoint on four phantoms
LOSSES = {"train_loss": [4.2236979, 4.0530725], "val_loss": [4.2130866, 4.2125149]}  # EHANet from seed 0, two epochs of two steps
PROBABILITY_TOLERANCE, LOSS_TOLERANCE = 1e-3, 1e-3  # absolute; relative


def test_the_shipped_checkpoint_predicts_here_what_it_predicts_elsewhere():
    found = predict(EHANet.from_pretrained(WEIGHTS), list(load_dataset("phantom-polyp", size=128).images[:4]))
    np.testing.assert_allclose([probability.mean() for probability in found], PROBABILITIES, atol=PROBABILITY_TOLERANCE, rtol=0)


def test_a_training_begins_here_as_it_begins_elsewhere(tmp_path):
    """On one machine it is the same bit for bit: test_faults.py."""
    config = RunConfig(dataset=str(make_folder(tmp_path / "discs", discs(64))), size=64, epochs=2, batch_size=8, learning_rate=1e-3, precision="float32", device="cpu")
    fit(config, tmp_path / "run", progress=False)
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    for name, expected in LOSSES.items():
        assert history[name].tolist() == pytest.approx(expected, rel=LOSS_TOLERANCE)
