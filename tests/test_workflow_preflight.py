"""Networks and losses that cannot be built are found before the first training, with the row's name and what is known."""

import re
from pathlib import Path

import pytest

from ehanet.config import RunConfig
from ehanet.profiles import load_profile
from workflow import preflight


def planned(**changes):
    return RunConfig.from_dict({"method": "ehanet", "dataset": "phantom-polyp", "size": 32, **changes}).to_dict()


@pytest.mark.parametrize(("changes", "message"), [
    ({"options": {"efaa": False}}, "phantom-polyp/ehanet: model 'ehanet' has no option 'efaa'; its options: encoder, "),
    ({"options": {"variant": "figur"}}, "phantom-polyp/ehanet: "),
    ({"loss_options": {"edge_los": "bce"}}, "phantom-polyp/ehanet: the loss of 'ehanet' has no option 'edge_los'; its options: edge_loss, deep_supervision"),
    ({"encoder": "mobilenet_typo"}, "phantom-polyp/ehanet: unknown encoder 'mobilenet_typo'"),
    ({"method": "unet-32", "label": "a", "encoder": "resnet18"}, "phantom-polyp/a: model 'unet-32' has no option 'encoder'"),
    ({"device": "bogus"}, "phantom-polyp/ehanet: device: 'bogus' is unknown; use 'auto', 'cpu', 'cuda' or 'mps'"),
    ({"method": "unet-32", "zero_init": True, "label": "b"}, "phantom-polyp/b: zero_init: only a MobileViT that starts from random weights can begin so"),
    ({"encoder": "resnet18", "zero_init": True}, "phantom-polyp/ehanet: zero_init: only a MobileViT"),
    ({"initial_weights": "nowhere.safetensors"}, "phantom-polyp/ehanet: weights file nowhere.safetensors not found"),
    ({"teacher": __file__}, f"phantom-polyp/ehanet: {__file__} "),
    ({"plugin": "nowhere.py", "method": "my-net"}, "phantom-polyp/my-net: plugins: nowhere.py not found"),
])
def test_the_first_problem_is_named(changes, message):
    found = preflight.find_problem([planned(), planned(**changes)])
    assert found.startswith(message) and "\n" not in found


def test_a_start_from_another_network_is_found(tmp_path):
    from ehanet import EHANet

    EHANet().save_pretrained(tmp_path)
    start = {"initial_weights": str(tmp_path / "model.safetensors")}
    assert preflight.find_problem([planned(**start)]) is None
    found = preflight.find_problem([planned(**start), planned(**start, method="unet-32")])
    assert found.startswith("phantom-polyp/unet-32: initial_weights: model.safetensors holds another network (its encoder: ") and "than UNet as configured" in found


def test_a_start_fits_the_layout_that_the_encoders_file_has(tmp_path):
    import torch

    from ehanet import EHANet
    from ehanet.models.encoders import KERAS_MOBILENET, build_encoder

    EHANet(KERAS_MOBILENET).save_pretrained(tmp_path)
    torch.save(build_encoder(KERAS_MOBILENET).net.state_dict(), tmp_path / "keras.pt")
    rows = {"encoder": "mobilenetv1_100", "initial_weights": str(tmp_path / "model.safetensors")}
    assert preflight.find_problem([planned(**rows, encoder_weights=str(tmp_path / "keras.pt"))]) is None
    assert "holds another network (its encoder: mobilenetv1_100.keras)" in preflight.find_problem([planned(**rows)])
    EHANet().save_pretrained(tmp_path / "own")
    start = str(tmp_path / "own" / "model.safetensors")
    assert preflight.find_problem([planned(initial_weights=start, encoder_weights="mobilevit_s.safetensors")]) is None, "a method's own encoder has one layout"


def test_every_start_of_a_committed_profile_fits_its_networks(tmp_path, monkeypatch):
    """Starts and the encoder's file are stand-ins of random values in the place and layout of the true ones."""
    from safetensors.torch import save_file

    from ehanet import EHANet
    from ehanet.models.encoders import KERAS_MOBILENET, build_encoder
    from ehanet.models.pretrained import save_weights

    save_file(build_encoder(KERAS_MOBILENET).net.state_dict(), tmp_path / "mobilenetv1_100.imagenet.safetensors")
    for place, encoder in {"weights/ehanet-universal": KERAS_MOBILENET, "reports/universal/ehanet-universal": KERAS_MOBILENET,
                           "reports/universal-random/ehanet-universal-random": "mobilevit_s", "reports/encoders-random-long/ehanet-vovnet19b-slim": "ese_vovnet19b_slim",
                           "reports/universal-random-vovnet/ehanet-universal-random-vovnet": "ese_vovnet19b_slim"}.items():
        path = tmp_path / f"{place}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_weights(EHANet(encoder), path)
    monkeypatch.setenv("EHANET_WEIGHTS", str(tmp_path))
    config = Path(__file__).parent.parent / "config"
    begun = [run for path in sorted(config.glob("*.yaml")) for run in load_profile(path.stem, folder=config, weights=tmp_path).runs if run.initial_weights or run.teacher]
    assert {Path(run.initial_weights).stem for run in begun} >= {"ehanet-universal", "ehanet-universal-random", "ehanet-vovnet19b-slim", "ehanet-universal-random-vovnet"}
    assert preflight.find_problem([run.to_dict() for run in begun]) is None


PLUGIN = """import torch
from ehanet.models.registry import register

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 1, 1)

    def forward(self, images):
        return {forward}

@register("own-net")
def build(**options):
    return Net()
"""


@pytest.mark.parametrize(("forward", "message"), [
    ("self.layer(images).repeat(1, 2, 1, 1)", r"phantom-polyp/own-net: Net: forward returned a tensor \(2, 2, 32, 32\); expected logits \(2, 1, 32, 32\)"),
    ("self.layer(images) / 0", "phantom-polyp/own-net: forward gives logits that are NaN or infinite, before any training"),
    ("self.layer(images).view(7, 7)", r"phantom-polyp/own-net: shape .* is invalid .* \(.*own.py, line 10\)$"),
    ("self.layer(images)", None),
])
def test_a_network_of_ones_own_computes_once_before_any_training(tmp_path, forward, message):
    (tmp_path / "own.py").write_text(PLUGIN.format(forward=forward))
    found = preflight.find_problem([planned(method="own-net", plugin=str(tmp_path / "own.py"))])
    assert found is None if message is None else re.match(message, found)


def test_files_are_not_asked_for_and_sound_rows_pass():
    assert preflight.find_problem([planned(encoder="mobilenetv1_100", encoder_weights="not-there.safetensors"), planned(pretrained=True), planned(method="unet-32")]) is None


def test_another_process_is_asked():
    preflight.check([])
    with pytest.raises(ValueError, match="^phantom-polyp/ehanet: the loss of 'ehanet' has no option 'x'"):
        preflight.check([planned(loss_options={"x": 1})])
