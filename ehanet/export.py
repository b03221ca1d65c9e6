"""The network as an ONNX file for other programs, kept only if it computes what PyTorch computes."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ehanet.config import SIDES
from ehanet.files import write_atomically
from ehanet.models.output import as_output

NEEDED = ("onnx", "onnxscript", "onnxruntime")  # which the package can do without otherwise
TOLERANCE = 1e-4  # of a probability, between PyTorch and ONNX Runtime


class _Maps(nn.Module):
    """Probabilities in place of logits, as a flat tuple that ONNX can name."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        out = as_output(self.model, (images,), self.model(images))
        edge = () if out.edge is None else (out.edge[:, 1:],)
        return (out.logits.sigmoid(), *edge, *(side.sigmoid() for side in out.sides))


def output_names(model: nn.Module, size: int = 64) -> list[str]:
    """The names of the exported outputs for images of ``size`` pixels: probability, edge where there is one, then side1 (coarsest) and so on."""
    with torch.no_grad():
        images = torch.zeros(1, 3, size, size, device=next(model.parameters()).device)
        out = as_output(model, (images,), model.eval()(images))
    return ["probability", *(["edge"] if out.edge is not None else []), *(f"side{number}" for number in range(1, len(out.sides) + 1))]


def export_onnx(model: nn.Module, path: str | Path, size: int | None = None) -> str:
    """Write ``model`` to ``path`` and compare it with PyTorch on random images; returns a line that says what was written.

    Input: ``images``, float32 (batch, 3, size, size) in [0, 1], any batch. Outputs: float32 (batch, 1, size, size) probabilities,
    see :func:`output_names`. The size is fixed: MobileViT folds its maps into patches, and the decoder's gates average over maps, by
    shapes that the exporter writes down as numbers. Squash images as ``predict`` does and bring the maps back to their sizes.

    Args:
        path: of the file, which must end in .onnx.
        size: side of the input in pixels, at least 32; default: the size the model was trained at.

    Raises:
        ValueError: another ending, no size or one below 32, or ONNX Runtime's outputs differ by more than 1e-4; nothing is written then. Also where one of ``NEEDED`` is not installed.
    """
    if Path(path).suffix.lower() != ".onnx":
        raise ValueError(f"export: {path} does not end in .onnx, and ONNX is what is written; name a file such as {Path(path).with_suffix('.onnx').name}")
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ValueError(f"export needs {' and '.join(missing)}: pip install {' '.join(missing)}")
    size = getattr(model, "input_size", None) if size is None else size
    if size is None:
        raise ValueError("export: this model does not say its image size; give --size PIXELS")
    if not SIDES[0] <= size <= SIDES[1]:
        raise ValueError(f"export: --size must be from {SIDES[0]} to {SIDES[1]} pixels, got {size}")
    names, maps = output_names(model, size), _Maps(model).cpu().eval()
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "model.onnx"
        with _quiet():
            torch.onnx.export(maps, (torch.rand(2, 3, size, size),), temporary, input_names=["images"], output_names=names, dynamo=True,
                              dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), external_data=False)
        worst = compare_onnx(model, temporary, size)
        content = temporary.read_bytes()
    write_atomically(path, content)
    return (f"{path}: {len(content) / 1e6:.1f} MB, images (batch, 3, {size}, {size}) -> {', '.join(names)}; "
            f"largest difference to PyTorch {worst:.1e}")


def compare_onnx(model: nn.Module, path: str | Path, size: int) -> float:
    """Largest difference of a probability between PyTorch and ONNX Runtime over batches of one and three random images.

    Args:
        path: of the ONNX file.
        size: side of the images in pixels.

    Raises:
        ValueError: it is above 1e-4, or not a number.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    maps, random = _Maps(model).cpu().eval(), np.random.default_rng(0)
    worst = 0.0
    for batch in (1, 3):
        images = random.random((batch, 3, size, size), dtype=np.float32)
        with torch.no_grad():
            ours = maps(torch.from_numpy(images))
        theirs = session.run(None, {"images": images})
        worst = max([worst, *(float(np.abs(one.numpy() - other).max()) for one, other in zip(ours, theirs, strict=True))])
    if not worst <= TOLERANCE:
        raise ValueError(f"export: ONNX Runtime differs from PyTorch by {worst:.1e}, more than {TOLERANCE:.0e}; nothing was written")
    return worst


@contextlib.contextmanager
def _quiet():
    """The exporter talks a lot on every stream; errors still come as exceptions."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
