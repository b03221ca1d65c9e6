"""Upload a photograph, see what the network finds, download the mask."""

from __future__ import annotations

import base64
import html
import io
import tempfile
from functools import lru_cache
from pathlib import Path

import ipywidgets as widgets
import numpy as np
from PIL import Image
from torch import nn

from ehanet.inference import predict
from ehanet.interact.canvas import Picture
from ehanet.interact.examples import Example, reduced
from ehanet.interact.panel import Panel, slider
from ehanet.interact.predictions import prediction_picture
from ehanet.photos import read_photo


def upload(model: nn.Module, example: Example) -> Panel:
    """A button that takes one image file; until then ``example`` is shown. The mask comes back at the file's own size, as PNG with 0 and 255."""
    link = widgets.HTML()
    segment = lru_cache(maxsize=2)(lambda name, content: segment_file(model, name, content))
    shown = predict(model, example.image)[0]

    def draw(file: tuple, threshold: float) -> Picture:
        link.value = ""
        name, thumbnail, probability = segment(file[0]["name"], bytes(file[0]["content"])) if file else (example.name, example.image, shown)
        link.value = download_link(probability > threshold, f"{Path(name).stem}_mask.png")
        found = probability if probability.shape == thumbnail.shape[:2] else _reduced_map(probability, thumbnail.shape[:2])
        given = example if not file else Example(f"{name}, {probability.shape[1]} x {probability.shape[0]}", thumbnail, None)
        return prediction_picture(given, found, threshold)

    button = widgets.FileUpload(accept="image/*,.tif,.tiff", multiple=False, description="choose an image")
    panel = Panel(draw, {"file": button, "threshold": slider("threshold", 0.5, 0.05, 0.95)})
    panel.children = [*panel.children, link]
    return panel


def segment_file(model: nn.Module, name: str, content: bytes) -> tuple[str, np.ndarray, np.ndarray]:
    """Name, picture reduced for the screen uint8 (h, w, 3), and probability float32 (H, W) at the file's own size.

    Raises:
        ValueError: not a readable image; one line that names the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / Path(name).name
        path.write_bytes(content)
        try:
            image = read_photo(path)
        except (ValueError, OSError) as error:
            raise ValueError(str(error).replace(f"{folder}/", "")) from error
    return path.name, reduced(image), predict(model, image)[0]


def download_link(mask: np.ndarray, name: str) -> str:
    """HTML of a link that holds the mask itself, bool (H, W), as a PNG with 0 and 255: it needs no server."""
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, format="PNG")
    height, width = mask.shape
    return (f'<a download="{html.escape(name)}" href="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}">'
            f"download {html.escape(name)}</a> ({width} x {height} pixels)")


def _reduced_map(probability: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(probability).resize(shape[::-1], Image.Resampling.BILINEAR))
