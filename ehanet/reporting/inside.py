"""The study of what networks see: Grad-CAM as in the paper's figure 9, outputs from coarse to fine, the gates of EFA and AHFA."""

from __future__ import annotations

from glob import escape
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ehanet.data import Dataset
from ehanet.data.splits import content_and_split
from ehanet.metrics.regions import binarise
from ehanet.metrics.resampling import bootstrap_means
from ehanet.records import read_beside, read_record
from ehanet.reporting.artefacts import discard, make_record
from ehanet.reporting.overlays import PREDICTION, TRUTH, contour_legend, display_note, draw_contour, name_row, picture_grid, shortened, show
from ehanet.reporting.results import ABSENT, mark_of_manifest
from ehanet.reporting.style import INK, LINES, MUTED, WIDTH, figure_style, look, plt, save_figure, stamp
from ehanet.reporting.tables import Column, Score, Table, read_table, write_table
from ehanet.reporting.wording import dataset_title

MODULES = ["ehanet.inside", "ehanet.reporting.inside"]
CAM_MAP, GATE_MAP = "magma", "cividis"  # both grow lighter with the value, in colour and in grey print
OUTPUT_TITLES = {"s1": "side output 1\n(coarsest)", "s2": "side output 2", "s3": "side output 3", "s4": "side output 4\n(finest)", "final": "final output", "edge": "edge"}
SHADES = ("#1b1f24", "#0068a8", "#00805f", "#c8500a", "#d08a00")


def inside_report(seen, data: Dataset, reports: str | Path) -> Table:
    """Write figures/grad_cam_<data set>, outputs_<data set> and gates_<data set> and tables/inside_<data set>; returns the table.

    Args:
        seen: what ``ehanet.inside.look_inside`` found. For None, without a checkpoint, table and figures of an earlier look at runs that the report still
            has stay as they are; else the table says that there was nothing to look into.

    Raises:
        ValueError: the earlier table was altered.
    """
    reports, mark, title = Path(reports), mark_of_manifest(data.manifest), dataset_title(data.name)
    paths = {kind: reports / "figures" / f"{kind}_{data.name}" for kind in ("grad_cam", "outputs", "gates")}
    if seen is None:
        if (earlier := _earlier(data, reports)) is not None:
            return earlier
        table = Table(f"inside_{data.name}", f"{title}: inside EHANet", mark, [Column("part", "Part"), Column("mark", "Mark")],
                      [{"part": "EHANet", "mark": f"{ABSENT}: no checkpoint of it is on this machine"}])
        write_table(table, reports / "tables", MODULES, inputs=[], data=data.manifest)
        discard(*paths.values())
        return table
    fields = {"inputs": seen.inputs, "data": data.manifest, "images": [seen.image]}
    table = _table(seen, data, mark)
    write_table(table, reports / "tables", MODULES, **fields)
    place = data.ids.index(seen.image)
    image, truth = data.images[place], data.masks[place].astype(bool)
    name, shown = look(seen.label, seen.method).title, shortened(seen.image)
    bright = display_note([image])
    figures = {"grad_cam": (_draw_cams, f"{title}, {shown}: Grad-CAM, where a layer holds evidence for the output{bright}"),
               "outputs": (_draw_outputs, f"{title}, {shown}: outputs of {name} from coarse to fine; black 0, white 1{bright}"),
               "gates": (_draw_gates, f"{title}, {shown}: gates of {name}")}
    with figure_style():
        for kind, (draw, heading) in figures.items():
            path = paths[kind]
            if (figure := draw(seen, image, truth, heading, mark)) is not None:
                save_figure(figure, path, make_record(path, "figure", MODULES, mark=mark, **fields), f"{kind.replace('_', ' ')} on {title}")
            else:
                discard(path)  # of a network that had gates
    return table


def _earlier(data: Dataset, reports: Path) -> Table | None:
    """The table that is there already, if it is of these images and of runs whose records the report holds; None otherwise."""
    path = reports / "tables" / f"inside_{data.name}.csv"
    if not path.is_file() or not path.with_suffix(".json").is_file():
        return None
    record = read_beside(path)
    runs = {read_record(run)["id"] for run in reports.glob(f"runs/{escape(data.name)}/*/seed*/record.json")}
    same = content_and_split(record["data"]) == content_and_split(data.manifest) and record["inputs"] and runs.issuperset(record["inputs"])
    return read_table(path) if same else None


def _table(seen, data: Dataset, mark: str) -> Table:
    """Dice of every output over the test images, and how far the gates open."""
    columns = [Column("part", "Part"), Column("stride", "Stride", "value"), Column("dice", "Dice", "score"), Column("step", "Gain on the one before", "score"),
               Column("channels", "Channels", "count"), Column("gate", "Gate, mean [least–largest]", "score", 3), Column("spatial", "Spatial gate, mean [least–largest]", "score", 3)]
    places = [data.ids.index(image) for image in seen.images]
    clusters = np.unique([data.groups[place] for place in places], return_inverse=True)[1]
    body, before, clear = [], None, []
    for output, dice in seen.dice.items():
        gain = None if before is None else _interval(dice - before, clusters)
        if gain is not None and (gain.low > 0 or gain.high < 0):
            clear.append(f"{OUTPUT_TITLES.get(output, output).splitlines()[0]} ({gain.mean:+.3f})".replace("-", "−"))
        number = int(output[1:]) if output[1:].isdigit() else 0
        gate = seen.ahfa[number - 1] if 0 < number <= len(seen.ahfa) else None
        body.append({"part": OUTPUT_TITLES.get(output, output).replace("\n", " "), "stride": str(2 ** (5 - number)) if number else "1", "dice": _interval(dice, clusters),
                     "step": gain, **({"channels": len(gate), "gate": _range(gate)} if gate is not None else {})})
        before = dice
    body += [{"part": f"EFA on stage {stage}", "stride": str(2**stage), "channels": len(channel), "gate": _range(channel), "spatial": _range(spatial)}
             for stage, (channel, spatial) in enumerate(seen.efa, start=1)]
    notes = [f"Dice: mean over {len(seen.images)} test images with its 95 % bootstrap interval. Gain: the mean difference, image by image, to the row above.",
             f"Steps from coarse to fine that are clear of zero: {', '.join(clear)}." if clear else "No step from coarse to fine is clear of zero on these images.",
             f"Gates: on the test image {seen.image}, the one at the median of the final output's Dice; 0.5 is what a gate of weight zero lets through."]
    notes += [f"Not looked into: {look(label).title}, {reason}." for label, reason in seen.absent.items()]
    name = look(seen.label, seen.method).title
    return Table(f"inside_{data.name}", f"{dataset_title(data.name)}: outputs and gates inside {name}", mark, columns, body, notes)


def _interval(values: np.ndarray, clusters: np.ndarray) -> Score:
    drawn = bootstrap_means(values[None], clusters, 2000, 0)[:, 0]
    return Score(float(values.mean()), *np.quantile(drawn, [0.025, 0.975]).tolist())


def _range(gate: np.ndarray) -> Score:
    return Score(float(gate.mean()), float(gate.min()), float(gate.max()))


def blend(image: np.ndarray, cam: np.ndarray) -> np.ndarray:
    """Grad-CAM (H, W) in [0, 1] in colour over the grey image (H, W, 3) uint8: float (H, W, 3) in [0, 1]."""
    grey = (image / 255.0).mean(axis=2, keepdims=True)
    return 0.35 * grey + 0.65 * matplotlib.colormaps[CAM_MAP](cam)[..., :3]


def _draw_cams(seen, image: np.ndarray, truth: np.ndarray, heading: str, mark: str) -> Figure:
    """Above: each method at its deepest and its last map. Below: the reference's outputs at the layers that feed them."""
    labels = list(dict.fromkeys(cam.label for cam in seen.cams))
    rows = [[cam for cam in seen.cams if cam.label == label] for label in labels]
    wide = max(len(labels), len(seen.own)) + 1
    figure, axes = picture_grid(3, wide, heading, mark, ["image and truth", *(_wrapped(look(own[0].label, own[0].method).title) for own in rows)],
                                margin=0.7, line=0.3, foot=0.46)
    for axis in axes.ravel():
        axis.set_visible(False)
    for band in range(3):
        axis = axes[band, 0]
        axis.set_visible(True)
        show(axis, image)
        draw_contour(axis, truth, TRUTH)
        name_row(axis, ("deepest\nmap", "last map\nbefore\nthe head", f"{_wrapped(look(seen.label, seen.method).title)},\nby output")[band])
    for column, own in enumerate(rows, start=1):
        for band, cam in enumerate(own):
            _draw_cam(axes[band, column], image, truth, cam, f"{_short(cam.layer)}\nstride {cam.stride}")
    for column, cam in enumerate(seen.own, start=1):
        _draw_cam(axes[2, column], image, truth, cam, f"{OUTPUT_TITLES[cam.output].splitlines()[0]}\n{_short(cam.layer)}, stride {cam.stride}")
    figure.legend(handles=contour_legend("")[:1], loc="lower left", bbox_to_anchor=(0.08, 0), fontsize=7, borderaxespad=0.2)
    _colourbar(figure, CAM_MAP, "evidence: 0", "99th percentile\nof each map")
    return figure


def _draw_cam(axis, image: np.ndarray, truth: np.ndarray, cam, below: str) -> None:
    axis.set_visible(True)
    largest = np.quantile(cam.cam, 0.99) or 1.0  # one bright spot would leave the rest black
    show(axis, blend(image, np.minimum(cam.cam / largest, 1)), below if cam.cam.any() else f"{below.splitlines()[0]}\nno evidence")
    draw_contour(axis, truth, TRUTH | {"linewidth": 0.8})


def _wrapped(title: str) -> str:
    """A method's title on short lines."""
    return title.replace(" + ", " +\n").replace(" (", "\n(").replace(", ", ",\n")


def _short(layer: str, longest: int = 20) -> str:
    return layer if len(layer) <= longest else "…" + layer[1 - longest:]


def _colourbar(figure: Figure, name: str, low: str, high: str) -> None:
    axis = figure.add_axes((0.6, 0.16 / figure.get_figheight(), 0.25, 0.09 / figure.get_figheight()))
    axis.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap=name)
    axis.set(xticks=[], yticks=[])
    axis.text(-0.02, 0.5, low, transform=axis.transAxes, ha="right", va="center", fontsize=7, color=INK)
    axis.text(1.02, 0.5, high, transform=axis.transAxes, ha="left", va="center", fontsize=7, color=INK)


def _draw_outputs(seen, image: np.ndarray, truth: np.ndarray, heading: str, mark: str) -> Figure:
    names = ["image", *(OUTPUT_TITLES.get(output, output) for output in seen.maps)]
    figure, axes = picture_grid(1, len(names), heading, mark, names, margin=0.08)
    show(axes[0, 0], image)
    draw_contour(axes[0, 0], truth, TRUTH)
    place = seen.images.index(seen.image)
    for axis, (output, probabilities) in zip(axes[0, 1:], seen.maps.items()):
        show(axis, probabilities, f"Dice {seen.dice[output][place]:.2f}" if output in seen.dice else f"largest {probabilities.max():.2f}", cmap="gray", vmin=0, vmax=1)
        if output in seen.dice:  # an edge map is what a contour would hide
            draw_contour(axis, truth, TRUTH)
            draw_contour(axis, binarise(probabilities[None])[0], PREDICTION, beside=truth)
    figure.legend(handles=contour_legend("probability 0.5"), loc="lower center", ncols=2, fontsize=7, borderaxespad=0.2)
    return figure


def _draw_gates(seen, image: np.ndarray, truth: np.ndarray, heading: str, mark: str) -> Figure | None:
    """Above: EFA's spatial gates on the image's grid. Below: the channel gates of EFA and AHFA, sorted. None in a network without either."""
    if not seen.efa and not seen.ahfa:
        return None
    panels = [part for part, there in (("EFA: channel gates", seen.efa), ("AHFA: gates of the side outputs", seen.ahfa)) if there]
    top, low = (1.3 if seen.efa else 0.0), 2.3
    height = 0.35 + top + low + 0.1
    figure = plt.figure(figsize=(WIDTH, height))
    if seen.efa:
        low_gate, high_gate = min(spatial.min() for _, spatial in seen.efa), max(spatial.max() for _, spatial in seen.efa)
        cell = 1.0
        for stage, (_, spatial) in enumerate(seen.efa):
            axis = figure.add_axes(((0.5 + stage * (cell + 0.08)) / WIDTH, (low + 0.35) / height, cell / WIDTH, cell / height))
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
            shown = axis.imshow(spatial, cmap=GATE_MAP, vmin=low_gate, vmax=high_gate, extent=(-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5), interpolation="nearest")
            draw_contour(axis, truth, TRUTH)
            axis.set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
            axis.set_title(f"stage {stage + 1}, stride {2 ** (stage + 1)}", fontsize=6.8, fontweight="normal", loc="center", pad=3)
        bar = figure.colorbar(shown, cax=figure.add_axes(((0.5 + 5 * (cell + 0.08) + 0.04) / WIDTH, (low + 0.35) / height, 0.1 / WIDTH, cell / height)))
        bar.set_label("EFA: spatial gate", fontsize=7)
        bar.ax.tick_params(labelsize=6.5)
    for number, panel in enumerate(panels):
        axis = figure.add_axes((0.07 + 0.5 * number, 0.4 / height, 0.3, (low - 0.6) / height))
        gates = [channel for channel, _ in seen.efa] if panel.startswith("EFA") else seen.ahfa
        for place, gate in enumerate(gates):
            name = f"stage {place + 1} ({len(gate)})" if panel.startswith("EFA") else f"side {place + 1} ({len(gate)})"
            axis.plot(np.linspace(0, 100, len(gate)), np.sort(gate), color=SHADES[place], linestyle=LINES[place], label=name)
        axis.set(xlabel="channels, sorted, %", ylabel="gate", ylim=(0, 1), xlim=(0, 100))
        axis.set_title(panel, fontsize=7.5)
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=6.5, handlelength=2.4, title="(channels)", title_fontsize=6.5)
    figure.text(0.06 / WIDTH, 1 - 0.06 / height, heading, ha="left", va="top", fontsize=7.5, color=MUTED)
    stamp(figure, mark)
    return figure
