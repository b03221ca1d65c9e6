"""What the walkthroughs' panels are tried with: a network, examples, and a hand on a control."""

import pytest
import torch

from ehanet import EHANet
from ehanet.interact import examples


@pytest.fixture(scope="module")
def model():
    """A small EHANet whose outputs differ from image to image, untrained."""
    torch.manual_seed(0)
    network = EHANet()
    network.input_size = 64
    for side in network.decoder:
        torch.nn.init.normal_(side.side.weight, std=1.0)
    return network.eval()


@pytest.fixture(scope="module")
def shown():
    return examples.load_examples("phantom-polyp", size=64, count=3)


def change(panel, name, value):
    """Move a control and return the picture before and after; no message may appear."""
    before = panel.picture.value
    panel.controls[name].value = value
    assert panel.message.value == ""
    return before, panel.picture.value
