"""What users call is documented, and the documentation speaks of what is there."""

import inspect
import re
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from workflow.docs import PUBLIC, public_names, write_docs

SECTION = re.compile(r"^(Args|Attributes|Returns|Raises):\n((?:    .*\n?|\n)+)", re.MULTILINE)
SHAPE = re.compile(r"\([0-9A-Za-z_]+,( ?[0-9A-Za-z_]+,?)*\)")  # (B, 1, H, W), (N, 256), (C,)
ARRAYS = re.compile(r"\b(Tensor|ndarray)\b")
ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "weights/ehanet-universal.md")
EXAMPLES = [(page, place, code) for page in PAGES for place, code in enumerate(re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL))]
NAMES = [(module, name) for module in PUBLIC for name in public_names(import_module(module))]


def parts_of(value):
    """Docstring, its sections, and the parameters of a function or class."""
    text = inspect.cleandoc(value.__doc__ or "")
    parameters = {name: parameter for name, parameter in inspect.signature(value).parameters.items() if name not in ("self", "args", "kwargs")}
    return text, dict(SECTION.findall(text + "\n")), parameters


@pytest.mark.parametrize("module, name", NAMES, ids=lambda value: value)
def test_a_public_name_says_what_it_takes_and_gives(module, name):
    value = public_names(import_module(module))[name]
    text, sections, parameters = parts_of(value)
    around = text + inspect.cleandoc(inspect.getmodule(value).__doc__)
    first = text.partition("\n\n")[0]
    assert re.match(r"[A-Z0-9(\"`]", first) and first.rstrip()[-1:] in ".:", "a first sentence"
    named = [entry for section in ("Args", "Attributes") for entry in re.findall(r"^    (\w[\w, ]*):", sections.get(section, ""), re.MULTILINE)]
    fields = {field for entry in named for field in entry.split(", ")}
    known = set(parameters) | set(getattr(value, "__annotations__", ())) | set(vars(value))
    assert fields <= known, f"documented, but not there: {', '.join(sorted(fields - known))}"
    if inspect.isfunction(value):
        plain = {name for name, parameter in parameters.items() if re.search(r"\b(int|float|str|bool|Any)\b|^<", str(parameter.annotation)) and parameter.kind is not parameter.VAR_KEYWORD}
        silent = [name for name in plain if not re.search(rf"\b{name}\b", around)]
        assert not silent, f"the docstring does not speak of {', '.join(sorted(silent))}"
        raises = set(re.findall(r"^ {4,8}raise (\w+)\(", inspect.getsource(value), re.MULTILINE))
        assert raises <= set(re.findall(r"\w+Error", text)), f"raises {', '.join(sorted(raises))}"
    if ARRAYS.search(str(inspect.signature(value))):
        assert SHAPE.search(around), "the shape of an array"
    assert not re.search(r"<[a-z]", re.sub(r"``.*?``", "", text, flags=re.DOTALL)), "a page would take < for HTML: put it into ``...``"


def test_the_public_surface_is_documented():
    surface = {"EHANet", "build_model", "list_models", "load_run", "predict", "load_released", "lovasz_softmax", "dice_bce", "EHANetLoss", "score_masks",
               "dice_over_thresholds", "calibration", "edge_f1", "load_dataset"}
    assert surface <= {name for _, name in NAMES}


def test_the_pages_show_every_public_name_and_load_nothing(tmp_path):
    index = write_docs(tmp_path / "api", ["ehanet", "ehanet.losses"])
    pages = {name: (tmp_path / "api" / f"{name.replace('.', '/')}.html").read_text() for name in ("ehanet", "ehanet.losses")}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["api"] and "ehanet.html" in index.read_text()
    for module, page in pages.items():
        assert all(f'id="{name}"' in page for name in public_names(import_module(module)))
        assert not re.search(r'(src|href)="(https?:)?//(?!pdoc\.dev)', page)
    assert "<strong>encoder:</strong>" in pages["ehanet"] and "&lt;e, grad&gt;" in pages["ehanet.losses"] and 'href="../ehanet.html"' in pages["ehanet.losses"]
    assert "hub_mixin" not in re.sub(r"<pre>.*?</pre>", "", pages["ehanet"], flags=re.DOTALL)


@pytest.mark.parametrize("page, place, code", EXAMPLES, ids=[f"{page}-{place}" for page, place, _ in EXAMPLES])
def test_an_example_runs_as_printed(page, place, code, tmp_path, monkeypatch):
    """In a folder that holds what the examples speak of: photographs, and the weights where they are in the clone and beside their card."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").symlink_to(ROOT / "weights")
    (tmp_path / "ehanet-universal.safetensors").symlink_to(ROOT / "weights/ehanet-universal.safetensors")
    for name in ("photo.png", "photo1.png", "photo2.jpg"):
        Image.fromarray(np.full((40, 50, 3), 128, np.uint8)).save(tmp_path / name)
    exec(compile(code, f"{page}, example {place}", "exec"), {})


def test_the_pages_have_the_examples_that_are_run():
    assert [page for page, _, _ in EXAMPLES] == ["README.md", "README.md", "weights/ehanet-universal.md"]
    assert sum(len(re.findall("^ *```(python|py)", (ROOT / page).read_text(), re.MULTILINE)) for page in PAGES) == len(EXAMPLES)
