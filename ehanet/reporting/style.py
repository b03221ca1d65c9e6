"""How figures look: sizes, fonts, and one colour and marker a method, told apart in colour, by the colour-blind and in grey print.

Colours are those of Okabe and Ito (2008), darkened where they would vanish on white paper; no two methods share both
colour and marker, and no two neighbours of a table share either. No two rows of a figure share both, nor, up to seven rows, the dashes of their lines.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from PIL import Image  # noqa: E402
from PIL.PngImagePlugin import PngInfo  # noqa: E402

from ehanet.files import write_atomically  # noqa: E402
from ehanet.reporting.artefacts import put_record  # noqa: E402

INK, MUTED, FAINT, GRID = "#1b1f24", "#5d6670", "#c9ced4", "#e6e9ec"
VERMILLION, BLUE, GREEN, ORANGE, PURPLE, SKY, OCHRE = "#c8500a", "#0068a8", "#00805f", "#d08a00", "#b0588f", "#3b9ad0", "#8a7a00"
MISSED, SPURIOUS, FOUND, BACKGROUND = "#0068a8", "#e08200", "#d3d8dd", "#ffffff"  # also told apart by lightness alone, in grey print
WIDTH = 7.2  # inches: the width of a page's text, two columns
DPI = 160
LARGE = 600_000  # bytes from which a PNG gets a palette
# Dashes of lines in one plot, by their order: greys merge in print.
LINES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1, 1, 1, 1, 1)), (0, (10, 2.5)), (0, (1.2, 3.2)))

RC = {
    "font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 8.5, "axes.labelsize": 8, "xtick.labelsize": 7.5, "ytick.labelsize": 8,
    "legend.fontsize": 7.5, "figure.facecolor": "white", "axes.facecolor": "white", "savefig.facecolor": "white",
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT, "xtick.color": MUTED, "ytick.color": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8, "axes.grid": True, "grid.color": GRID,
    "grid.linewidth": 0.7, "axes.axisbelow": True, "axes.titlelocation": "left", "axes.titleweight": "bold", "legend.frameon": False,
    "lines.linewidth": 1.6, "xtick.major.size": 0, "ytick.major.size": 0, "pdf.fonttype": 42, "svg.hashsalt": "ehanet", "path.simplify": True,
}


class Look(NamedTuple):
    """How a method appears in every figure and table: title, colour, marker; and the dashes of its line, which :func:`looks` gives."""

    title: str
    colour: str
    marker: str | tuple
    line: str | tuple = "-"

    @property
    def scale(self) -> float:
        """Factor on the marker's size that makes all markers look equally large."""
        return _SCALES.get(self.marker, 1.0)


METHODS = {
    "ehanet": Look("EHANet", VERMILLION, "o"),
    "unet": Look("U-Net", BLUE, "s"),
    "unet-32": Look("U-Net (half width)", SKY, "D"),
    "resunet": Look("ResUNet", GREEN, "^"),
    "resunetpp": Look("ResUNet++", OCHRE, "v"),
    "resunetpp-wide": Look("ResUNet++ (wide)", ORANGE, "<"),
    "pranet": Look("PraNet", PURPLE, "P"),
    "cfanet": Look("CFANet", BLUE, "X"),
    "canet": Look("CANet", GREEN, "h"),
    "hiformer-b": Look("HiFormer-B", ORANGE, "p"),
    "lanet": Look("LANet", BLUE, "*"),
    "mobilevit-unet": Look("MobileViT-S + U-Net", GREEN, "s"),
    "mobilevit-unetpp": Look("MobileViT-S + U-Net++", PURPLE, "D"),
    "mobilevit-fpn": Look("MobileViT-S + FPN", OCHRE, "^"),
    "mobilevit-deeplabv3plus": Look("MobileViT-S + DeepLabV3+", SKY, "v"),
    "resnet34-unet": Look("ResNet-34 + U-Net", ORANGE, "X"),
    "lw-mhfi-net": Look("LW-MHFI-Net", PURPLE, "8"),  # never drawn: its row has no numbers
}
ENCODERS = {"mobilenetv1": "MobileNetV1", "resnet34": "ResNet-34", "resnet50": "ResNet-50", "lite0": "EfficientNet-Lite0", "lite2": "EfficientNet-Lite2"}  # in labels such as mobilenetv1-unet
_COLOURS = (BLUE, GREEN, PURPLE, ORANGE, SKY, OCHRE)
_MARKERS = ("d", ">", (4, 1, 0), (8, 1, 0))  # no base method's: the first that variants and methods of the user's own take
_SCALES = {"*": 1.5, "P": 1.15, "X": 1.15, "d": 1.2, (4, 1, 0): 1.6, (8, 1, 0): 1.6}  # markers that look small at the size of others


def look(label: str, method: str | None = None) -> Look:
    """The look of a row that stands alone; rows drawn together get theirs from :func:`looks`. A variant (another label of a known method) has its method's colour."""
    method = method or label
    if label == method and label in METHODS:
        return METHODS[label]
    marker = _MARKERS[0]
    if method in METHODS:
        base = METHODS[method]
        encoder, found, variant = label.partition(f"-{method.partition('-')[2]}")
        if method.startswith("mobilevit-") and encoder != "mobilevit" and found and variant[:1] in ("", "-"):  # the same decoder on another encoder
            title = f"{ENCODERS.get(encoder, encoder)} + {base.title.partition(' + ')[2]}"
            return Look(title + variant.replace("-", ", ", 1), base.colour, marker if variant else base.marker)
        variant = label.removeprefix(method).strip("-_.+ ")
        return Look(f"{base.title}, {variant}" if variant and variant != label else label, base.colour, marker)
    return Look(label, _COLOURS[0], marker)


def looks(methods: Mapping[str, str]) -> dict[str, Look]:
    """Label -> look of every row of one figure, no two with the same colour and marker.

    Base methods look as everywhere. Variants, and methods of the user's own, take what is free in their order; so do the dashes of lines.

    Args:
        methods: label -> method, in the order of the table.
    """
    found = {label: look(label, method) for label, method in methods.items()}
    fixed = [label for label, method in methods.items() if label == method and label in METHODS]
    taken = {found[label][1:3] for label in fixed}
    for label, style in found.items():
        if label not in fixed:
            pair = next((pair for pair in _candidates(style, methods[label] in METHODS) if pair not in taken), style[1:3])  # some hundred are there
            taken.add(pair)
            found[label] = style._replace(colour=pair[0], marker=pair[1])
    return {label: style._replace(line=LINES[number % len(LINES)]) for number, (label, style) in enumerate(found.items())}


def _candidates(style: Look, variant: bool) -> Iterator[tuple]:
    """Pairs of colour and marker, the row's own first and then none of a base method: a variant keeps its colour as long as markers last, others change it first."""
    colours = (style.colour, *(colour for colour in _COLOURS if colour != style.colour))
    markers = (*_MARKERS, *dict.fromkeys(base.marker for base in METHODS.values()))
    yield style[1:3]
    pairs = product(colours, markers) if variant else ((colour, marker) for marker, colour in product(markers, colours))
    yield from (pair for pair in pairs if pair not in {base[1:3] for base in METHODS.values()})


def panels_across(count: int) -> int:
    """How many of ``count`` panels stand side by side: 4, 3 or 5, whichever leaves the fewest places empty."""
    return count if count < 4 else min((4, 3, 5), key=lambda wide: -count % wide)


@contextmanager
def figure_style():
    """matplotlib's settings inside the block are ours; outside they stay the caller's."""
    with plt.rc_context({**matplotlib.rcParamsDefault, "backend": "agg", **RC}):
        yield
        plt.close("all")


def headline(text: str, below: str) -> tuple[str, float]:
    """A heading with a second line where ``below`` has one, and the inches that the second line takes."""
    return (f"{text}\n{below}", 0.13) if below else (text, 0.0)


def stamp(figure: Figure, mark: str) -> None:
    """Print the provenance mark at the top right of a figure, e.g. "phantom data"."""
    height = figure.get_figheight()
    phantom = mark == "phantom data"
    figure.text(1 - 0.06 / figure.get_figwidth(), 1 - 0.06 / height, mark, ha="right", va="top", fontsize=7.5,
                color="white" if phantom else MUTED, fontweight="bold" if phantom else "normal",
                bbox={"boxstyle": "round,pad=0.35", "facecolor": INK if phantom else "white", "edgecolor": INK if phantom else FAINT, "linewidth": 0.8})


def save_figure(figure: Figure, path: str | Path, record: dict, title: str) -> None:
    """Write ``path``.png and ``path``.pdf with the record's id inside, and the record beside them.

    The PNG has text chunks Title and Record, the PDF a Subject and Keywords; neither holds a time. A PNG of many contours gets a palette of 256
    colours, at less than half the bytes: a repository holds it three times, in two forms of a notebook too.
    """
    path = Path(path)
    kinds = {
        ".png": {"Software": None, "Title": title, "Record": record["id"]},
        ".pdf": {"CreationDate": None, "Producer": None, "Creator": "ehanet.reporting", "Title": title,
                 "Subject": f"record {record['id']}", "Keywords": f"record {record['id']}"},
    }
    for suffix, metadata in kinds.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix[1:], dpi=DPI, metadata=metadata)
        data = buffer.getvalue()
        write_atomically(path.with_name(path.name + suffix), _with_palette(data) if suffix == ".png" and len(data) > LARGE else data)
    put_record(path, record)


def _with_palette(png: bytes) -> bytes:
    """The same picture in 256 colours, its text chunks kept."""
    picture, text, buffer = Image.open(io.BytesIO(png)), PngInfo(), io.BytesIO()
    for key, value in picture.text.items():
        text.add_text(key, value)
    picture.convert("RGB").quantize(256).save(buffer, "PNG", pnginfo=text, dpi=picture.info["dpi"], optimize=True)
    return buffer.getvalue()
