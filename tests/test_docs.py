"""What users call is documented, and the documentation speaks of what is there."""

import inspect
import re
from importlib import import_module

import pytest

from workflow.docs import PUBLIC, public_names, write_docs

SECTION = re.compile(r"^(Args|Attributes|Returns|Raises):\n((?:    .*\n?|\n)+)", re.MULTILINE)
SHAPE = re.compile(r"\([0-9A-Za-z_]+,( ?[0-9A-Za-z_]+,?)*\)")  # (B, 1, H, W), (N, 256), (C,)
ARRAYS = re.compile(r"\b(Tensor|ndarray)\b")
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
