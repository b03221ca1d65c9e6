"""Profiles: every file of config/ resolves, overrides are typed, what is wrong is said in one line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehanet.config import WEIGHT_FILES
from ehanet.overrides import parse_overrides
from ehanet.profiles import KEYS, load_profile

CONFIG = Path(__file__).parent.parent / "config"
PROFILES = sorted(path.stem for path in CONFIG.glob("*.yaml"))


def write(folder: Path, text: str) -> Path:
    (folder / "own.yaml").write_text(text)
    return folder


BASE = "datasets: [phantom-polyp]\nmethods: [ehanet]\nseeds: [0]\n"


def test_all_profiles_are_there():
    assert {"smoke", "quick", "phantoms", "laptop", "paper"} <= set(PROFILES)


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_resolves(name):
    profile = load_profile(name, folder=CONFIG)
    assert profile.name == name and (len(profile.runs) + len(profile.absent) >= len(profile.datasets) or set(profile.studies) == {"leakage"})
    places = [(run.dataset, run.label, run.seed) for run in profile.runs]
    assert len(set(places)) == len(places)
    assert profile.title != name, "a report needs a title"


def test_a_method_may_have_its_own_settings(tmp_path):
    text = BASE.replace("[ehanet]", "[unet-32, {name: ehanet, label: slow, epochs: 7, options: {efa: false}, datasets: [phantom-lesion]}]")
    profile = load_profile("own", folder=write(tmp_path, text.replace("[phantom-polyp]", "[phantom-polyp, phantom-lesion]") + "epochs: 3\n"))
    assert [(run.dataset, run.label, run.method, run.epochs) for run in profile.runs] == [
        ("phantom-polyp", "unet-32", "unet-32", 3), ("phantom-lesion", "unet-32", "unet-32", 3), ("phantom-lesion", "slow", "ehanet", 7)]
    assert profile.runs[2].options == {"efa": False}


@pytest.mark.parametrize("setting", WEIGHT_FILES)
def test_weights_are_looked_up_and_a_missing_file_leaves_the_row_out(tmp_path, setting):
    text = BASE.replace("[ehanet]", f"[unet-32, {{name: ehanet, encoder: mobilenetv1_100, {setting}: net.safetensors}}]")
    profile = load_profile("own", folder=write(tmp_path, text))
    assert [run.label for run in profile.runs] == ["unet-32"]
    assert [(row.label, row.reason) for row in profile.absent] == [
        ("ehanet", "not available: weights file net.safetensors not found (give WEIGHTS=folder)")]
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "net.safetensors").write_bytes(b"x")
    profile = load_profile("own", folder=tmp_path, weights=tmp_path / "weights")
    assert getattr(profile.runs[1], setting) == "net.safetensors" and not profile.absent
    profile = load_profile("own", "pretrained=true", folder=tmp_path, weights=tmp_path / "weights")
    assert [run.pretrained for run in profile.runs] == [True, setting != "encoder_weights"], "a row's own file of its encoder comes before timm's weights"


def test_overrides_are_typed_and_change_the_name(tmp_path):
    write(tmp_path, BASE + "epochs: 3\n")
    profile = load_profile("own", "epochs=5 pretrained=true learning_rate=1e-3 seeds=[1,2]", folder=tmp_path)
    assert {(run.epochs, run.pretrained, run.learning_rate) for run in profile.runs} == {(5, True, 0.001)}
    assert profile.seeds == (1, 2)
    assert profile.name.startswith("own-epochs-5-learning-rate-0.001-pretrained-")
    assert load_profile("own", "epochs=5", folder=tmp_path).name == "own-epochs-5"
    assert load_profile("own", "", folder=tmp_path).name == "own"
    titles = {changes: load_profile("own", changes, folder=tmp_path).title for changes in ("", "epochs=5 seeds=[1]", "title='Two words' datasets=[phantom-nuclei]")}
    assert list(titles.values()) == ["own", "own (epochs=5, seeds=[1])", "Two words"]
    names = {load_profile("own", f"options='{{width: {width}}}' title='a title that is rather long, so that it is cut'", folder=tmp_path).name
             for width in range(5)}
    assert len(names) == 5, "two overrides never share a folder"
    assert load_profile("own", "pretrained=true", folder=tmp_path).name == "own-pretrained-true"
    assert len({load_profile("own", f"title={title}", folder=tmp_path).name for title in ("A", "a", "a-", "'a b'", "a-b")}) == 5


@pytest.mark.parametrize(("overrides", "message"), [
    ("epoch=3", "unknown key 'epoch' (did you mean epochs?); known: title, datasets"),
    ("epochs=1 epochs=2", "SET: epochs is given twice"), ("epochs=1, size=64", "SET: 'epochs=1,' ends with a comma; separate settings by spaces"),
    ("methods=ehanet", "methods: expected a list with at least one entry, got 'ehanet'; write [ehanet]"),
    ("epochs", "not of the form key=value"),
    ("epochs=three", "epochs: expected int, got 'three'"),
    ("epochs=-1", "epochs: must be above 0"),
    ("schedule=cosin", "'cosin' is none of constant, cosine"),
    ("seeds=3", "seeds: expected a list"),
    ("seeds=[0,0]", "names something twice"),
    ("seeds=[-1]", "seeds: must be 0 or above"),
    ("seeds=[true]", "seeds: expected a list of int"),
    ("methods=[ehanett]", "unknown method 'ehanett'; known: "),
    ("methods=[ehanet,ehanet]", "label 'ehanet' is used twice"),
    ("methods='[{name: ehanet, epoch: 3}]'", "methods: ehanet: unknown key 'epoch'"),
    ("methods='[{name: ehanet, label: a/b}]'", "label 'a/b' names files"),
    ("methods='[{name: ehanet, datasets: x}]'", "datasets: expected a list"),
    ("methods=[3]", "expected a name, or a mapping"),
    ("methods=[]", "methods: expected a list with at least one entry"),
    ("methods='[{name: ehanet, size: 96}]'", "methods: ehanet: unknown key 'size'"),
    ("methods='[ehanet, {name: unet-32, datasets: [phantom-poly]}]'", "methods: unet-32: datasets: unknown data set 'phantom-poly'; known: "),
    ("methods='[{name: ehanet, datasets: [phantom-poly]}, {name: ehanet, label: b, datasets: [phantom-polyp]}]'", "methods: ehanet: datasets: unknown data set 'phantom-poly'"),
    ("studies='{edges: [phantom-polypp]}'", "studies: 'edges': datasets: unknown data set 'phantom-polypp'"),
    ("title='unclosed", "cannot be read (a quote is not closed)"),
    ("seeds=[0, 1 epochs=3", "cannot be read (a bracket is not closed)"),
    ("studies={robustness: {images: 2024-01-01}}", "studies: expected text, numbers, lists or mappings of them by name, got {'robustness': {'images': datetime.date"),
    ("studies={robustness: {1: 2, images: 3}}", "studies: expected text, numbers, lists or mappings of them by name"),
    ("title=[a", "cannot be read (a bracket is not closed)"),
    ("datasets=[phantom-polip]", "unknown phantom 'phantom-polip'; known: phantom-polyp"),
    ("datasets=[a/.hidden]", "cannot name files"),
    ("datasets=[~no-such-user]", "cannot name files"),
    ("datasets='[\"\"]'", "cannot name files"),
    ("datasets='[one/set, two/set]'", "two folders share one name"),
])
def test_what_is_wrong_is_said_in_one_line(tmp_path, overrides, message):
    with pytest.raises(ValueError) as error:
        load_profile("own", overrides, folder=write(tmp_path, BASE))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("text", "message"), [
    ("epoch: 3\n" + BASE, "unknown key 'epoch'"),
    (BASE + "seeds: [1]\n", "'seeds' is given twice"),
    ("- a\n- b\n", "expected 'key: value' lines"),
    ("", "expected 'key: value' lines"),
    (BASE + "title: !!python/object/apply:os.system [true]\n", "no valid YAML"),
    ("title: " + "[" * 1500, "no valid YAML"),
    ("# " + "x" * 200_000, "larger than"),
])
def test_a_damaged_profile_is_said_in_one_line(tmp_path, text, message):
    with pytest.raises(ValueError) as error:
        load_profile("own", folder=write(tmp_path, text))
    assert message in str(error.value) and "\n" not in str(error.value) and len(str(error.value)) < 1000


def test_a_missing_profile_names_those_there_are(tmp_path):
    for name in ("nothing", "../config/own"):
        with pytest.raises(FileNotFoundError, match="there are: own"):
            load_profile(name, folder=write(tmp_path, BASE))


def test_a_list_or_mapping_goes_on_to_its_last_bracket():
    text = "methods=[ehanet, {name: lanet, label: b}] epochs=3 loss_options={edge_loss: bce} seeds=[0, 1]"
    assert parse_overrides(text, KEYS) == {"methods": ["ehanet", {"name": "lanet", "label": "b"}], "epochs": 3, "loss_options": {"edge_loss": "bce"}, "seeds": [0, 1]}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.sampled_from(KEYS), st.text(max_size=40))
def test_no_override_crashes(key, value):
    try:
        assert set(parse_overrides(f"{key}={value}", KEYS)) >= {key}
    except ValueError as error:
        assert "\n" not in str(error)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_no_file_crashes(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "own.yaml").write_bytes(content)
    with pytest.raises(ValueError) as error:
        load_profile("own", folder=folder)
    assert "\n" not in str(error.value)
