"""The ONNX file computes what PyTorch computes, or is not kept."""

import pytest
import torch
from torch import nn

from ehanet import EHANet, __version__
from ehanet.__main__ import main
from ehanet.export import compare_onnx, export_onnx, output_names
from ehanet.models.output import SegmentationOutput


class Small(nn.Module):
    """A network of one convolution with a side output and an edge."""

    input_size = 32

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, images):
        x = self.conv(images)
        return SegmentationOutput(x[:, :1], [x[:, 1:2]], x[:, 1:].softmax(dim=1), x[:, 1:])


def test_the_file_agrees_for_every_batch_and_names_its_outputs(tmp_path):
    import onnxruntime

    line = export_onnx(Small(), tmp_path / "m.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_outputs()] == ["probability", "edge", "side1"] and "images (batch, 3, 32, 32)" in line
    assert session.run(None, {"images": torch.rand(5, 3, 32, 32).numpy()})[0].shape == (5, 1, 32, 32)
    with pytest.raises(ValueError, match="ONNX Runtime differs from PyTorch by .* nothing was written"):
        compare_onnx(Small(), tmp_path / "m.onnx", 32)  # other random weights


def test_a_network_that_returns_logits_alone_is_exported(tmp_path):
    bare = nn.Conv2d(3, 1, 3, padding=1)
    assert export_onnx(bare, tmp_path / "m.onnx", 32).startswith(f"{tmp_path / 'm.onnx'}: ") and output_names(bare) == ["probability"]


def test_a_file_that_disagrees_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("ehanet.export.TOLERANCE", -1.0)
    with pytest.raises(ValueError, match="nothing was written"):
        export_onnx(Small(), tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_what_the_export_needs_beside_the_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("ehanet.export.NEEDED", ("numpy", "no_such_onnx", "nor_this"))
    with pytest.raises(ValueError, match="export needs no_such_onnx and nor_this: pip install no_such_onnx nor_this"):
        export_onnx(Small(), tmp_path / "m.onnx", 32)


def test_no_size_and_a_size_too_small_are_one_line(tmp_path, monkeypatch, capsys):
    model = Small()
    model.input_size = None
    monkeypatch.setattr("ehanet.hub.load_checkpoint_model", lambda path: model)
    assert main(["export", str(tmp_path / "m.onnx")]) == 1 and "give --size PIXELS" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "m.onnx"), "--size", "31"]) == 1 and "from 32 to 4096 pixels, got 31" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "m.onnx"), "--size", "100000"]) == 1 and "from 32 to 4096 pixels, got 100000" in capsys.readouterr().err
    model.input_size = 64
    assert main(["export", str(tmp_path / "m.onnx"), "--size", "0"]) == 1 and "from 32 to 4096 pixels, got 0" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_impossible_target_is_refused_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ehanet.hub.load_checkpoint_model", lambda path: pytest.fail("the work was begun"))
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.onnx").mkdir()
    for name, said in (("file/m.onnx", "file/m.onnx cannot be written (Not a directory); name a file in a folder that you can write to"),
                       ("folder.onnx", "folder.onnx is a folder; name a file")):
        assert main(["export", str(tmp_path / name)]) == 1 and capsys.readouterr().err == f"error: {tmp_path}/{said}\n"


def test_the_target_ends_in_onnx_and_may_lie_at_home(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ehanet.hub.load_checkpoint_model", lambda path: Small())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["export", "~/x.pt"]) == 1 and "x.pt does not end in .onnx, and ONNX is what is written; name a file such as x.onnx" in capsys.readouterr().err
    assert main(["export", "~/new/x.onnx"]) == 0 and [path.name for path in (tmp_path / "new").iterdir()] == ["x.onnx"]


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as raised:
        main(["--version"])
    assert raised.value.code == 0 and capsys.readouterr().out == f"ehanet {__version__}\n"


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["mobilenetv1_100.keras", "mobilevit_s"])
def test_ehanet_agrees(tmp_path, encoder):
    torch.manual_seed(0)
    line = export_onnx(EHANet(encoder), tmp_path / "m.onnx", 64)
    assert "probability, edge, side1, side2, side3, side4" in line and float(line.rsplit(" ", 1)[1]) <= 1e-4
