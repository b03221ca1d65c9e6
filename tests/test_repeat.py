"""A recorded training once more: the same bits here, refused on other data or weights, laid beside the record."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from archives import discs, make_folder
from reporting_inputs import make_dataset, make_reports
from safetensors.torch import save_file

from ehanet.config import RunConfig
from ehanet.data import load_dataset
from ehanet.evaluation import evaluate_runs
from ehanet.metrics.scores import read_scores
from ehanet.models import build_model
from ehanet.record_schema import record_id
from ehanet.records import read_record
from ehanet.repeat import find_recorded, recorded_scores, repeat_run, run_name
from ehanet.reporting import repeated_report
from ehanet.reporting.repeated import _weights
from ehanet.reporting.tables import read_table
from ehanet.reporting.trace import trace
from ehanet.training import fit
from workflow.repeat import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A report of two seeds on twenty discs, made as the steps of make paper make it; the encoder starts from a file."""
    home = tmp_path_factory.mktemp("clone")
    folder = make_folder(home / "discs", discs(32))
    torch.manual_seed(1)
    save_file(build_model("ehanet", encoder="resnet18").encoder.net.state_dict(), home / "encoder.safetensors")
    data = load_dataset(folder, size=32)
    rows = []
    for seed in (0, 1):
        config = RunConfig(dataset=str(folder), size=32, epochs=2, batch_size=8, learning_rate=2e-3, precision="float32", device="cpu", seed=seed, encoder="resnet18",
                           encoder_weights=str(home / "encoder.safetensors"))
        run_dir, kept = home / f"runs/small/discs/ehanet/seed{seed}", home / f"reports/small/runs/discs/ehanet/seed{seed}"
        fit(config, run_dir, progress=False)
        kept.mkdir(parents=True)
        for name in ("record.json", "history.csv"):
            shutil.copyfile(run_dir / name, kept / name)
        rows.append({"method": "ehanet", "label": "ehanet", "seed": seed})
    evaluate_runs(data, home / "runs/small/discs", home / "reports/small", rows)
    return home


@pytest.fixture
def clone(trained, tmp_path, monkeypatch):
    """A copy of the reports in an empty folder; data and weights stay where the record says."""
    shutil.copytree(trained / "reports", tmp_path / "reports")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_on_the_same_machine_the_same_bits_come_out_and_the_table_says_so(clone, capsys):
    assert main(["small/discs/ehanet/seed1"]) == 0
    said = capsys.readouterr().out
    assert "weights: the same bits; other seeds of the row: " in said and "+0.0000 [+0.0000 to +0.0000]" in said
    (row,) = repeated_report("reports/small").rows
    record = read_record("reports/small/runs/discs/ehanet/seed1/record.json")
    again = read_record(next(Path("reports/small/repeated", record["id"]).glob("runs/discs/ehanet/seed1/record.json")))
    assert again["checkpoint_sha256"] == record["checkpoint_sha256"] and again["id"] != record["id"]
    other = read_scores("reports/small/scores/discs/ehanet__seed0.csv")["dice"].mean()
    assert (row["seed"], row["code"], row["others"], row["before"]) == (1, "the same", f"{other:.3f}", row["after"])
    assert row["dice_before"].mean == pytest.approx(read_scores("reports/small/scores/discs/ehanet__seed1.csv")["dice"].mean())
    other_seed = read_record("reports/small/runs/discs/ehanet/seed0/record.json")
    assert (_weights(record, again), _weights(other_seed, again)) == ("the same bits", "others")
    mean = f"{row['dice_after'].mean:.6f}"
    found = next(origin for origin in trace(mean, "reports/small") if origin.table.name == "repeated.csv")
    assert {r["id"] for _, r in found.records if r and r["kind"] == "run"} == {record["id"], again["id"]}
    assert main([record["id"]]) == 0  # finished: nothing is trained
    assert read_record(next(Path("reports/small/repeated").glob("*/runs/*/*/*/record.json")))["id"] == again["id"]


@pytest.fixture
def twice(tmp_path):
    """A report of two seeds, and a repetition of the first as another machine leaves it: other scores of each image."""
    data = make_dataset()
    reports, again = (make_reports(tmp_path / name, data, {"ehanet": error}, seeds=(0, 1)) for name, error in (("before", 0.1), ("after", 0.3)))
    shutil.rmtree(again / "runs/phantom-polyp/ehanet/seed1")
    place = reports / "repeated" / read_record(reports / "runs/phantom-polyp/ehanet/seed0/record.json")["id"]
    shutil.copytree(again, place)
    return reports, place


def test_another_result_shows_with_its_difference(twice):
    reports, place = twice
    (row,) = repeated_report(reports).rows
    before, after = (read_scores(folder / "scores/phantom-polyp/ehanet__seed0.csv") for folder in twice)
    for score in ("dice", "boundary_f1"):
        change, expected = row[f"{score}_change"], after[score] - before[score]
        assert change.mean == pytest.approx(expected.mean()) and change.low < change.mean < change.high
        assert change.high - change.low == pytest.approx(4 * expected.std() / len(expected) ** 0.5, rel=0.2)  # of the normal distribution
    assert row["weights"] == "not recorded" and row["mark"] == "phantom data"


def test_a_number_of_the_table_leads_to_its_own_run(twice):
    reports, place = twice
    folder = reports / "runs/phantom-polyp/ehanet/seed1"
    again = reports / "repeated" / read_record(folder / "record.json")["id"]
    shutil.copytree(place, again)
    for path in [*again.glob("runs/phantom-polyp/*"), *again.glob("scores/phantom-polyp/*seed1*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(place / "runs/phantom-polyp/ehanet/seed0", again / "runs/phantom-polyp/ehanet/seed1")
    for path in list(again.glob("scores/phantom-polyp/*seed0*")):
        path.rename(path.with_name(path.name.replace("seed0", "seed1")))
    table = repeated_report(reports)
    rows = table.rows
    assert [row["seed"] for row in rows] == [0, 1] and rows[0]["run"] == place.name
    before, after = (sum(row[f"dice_{name}"].mean for row in rows) / 2 for name in ("before", "after"))
    assert table.notes[-1] == f"EHANet on Phantom polyps, mean of seeds 0, 1: test mDice {before:.3f} recorded, {after:.3f} repeated."
    for row, own in zip(rows, (reports / "runs/phantom-polyp/ehanet/seed0", folder)):
        (origin,) = [found for found in trace(f"{row['dice_before'].mean:.7f}", reports) if found.table.name == "repeated.csv"]
        assert {record["id"] for _, record in origin.records if record["kind"] == "run"} == {read_record(own / "record.json")["id"], read_record(place / "runs/phantom-polyp/ehanet/seed0/record.json")["id"]}


def test_scores_of_another_training_than_the_record_beside_them_are_left_out_and_the_table_goes_with_the_last_row(twice):
    """As a repetition leaves them that was killed while it scored."""
    reports, place = twice
    repeated_report(reports)
    shutil.copyfile(reports / "runs/phantom-polyp/ehanet/seed1/record.json", place / "runs/phantom-polyp/ehanet/seed0/record.json")
    assert (reports / "tables/repeated.csv").is_file()
    assert repeated_report(reports) is None
    assert not list((reports / "tables").glob("repeated.*"))


@pytest.fixture
def all_repeated(tmp_path):
    """Two methods with two seeds each, all of them repeated, with the other method ahead before and behind after."""
    data = make_dataset()
    reports, again = (make_reports(tmp_path / name, data, {"ehanet": mine, "unet": other}, seeds=(0, 1)) for name, mine, other in (("before", 0.3, 0.1), ("after", 0.1, 0.3)))
    for path in sorted(reports.glob("runs/*/*/seed*/record.json")):
        place = reports / "repeated" / read_record(path)["id"]
        label, seed = path.parts[-3:-1]
        shutil.copytree(again / Path(*path.parts[-5:-1]), place / Path(*path.parts[-5:-1]))
        (place / "scores/phantom-polyp").mkdir(parents=True)
        for scores in again.glob(f"scores/phantom-polyp/{label}__{seed}.*"):
            shutil.copy(scores, place / "scores/phantom-polyp")
    return reports, again


def test_differences_between_methods_stand_beside_each_other_recorded_and_repeated(all_repeated):
    repeated_report(all_repeated[0])
    table = read_table(all_repeated[0] / "tables/repeated_differences_phantom-polyp.csv")
    assert [row["label"] for row in table.rows] == ["ehanet", "unet"]
    other = table.rows[1]
    for time, reports in zip(("recorded", "repeated"), all_repeated):
        mine, theirs = (sum(read_scores(reports / f"scores/phantom-polyp/{label}__seed{seed}.csv")["dice"] for seed in (0, 1)) / 2 for label in ("ehanet", "unet"))
        assert other[f"dice_{time}"].mean == pytest.approx(theirs.mean(), abs=1e-6)
        assert other[f"dice_difference_{time}"].mean == pytest.approx((theirs - mine).mean(), abs=1e-6)
    assert other["dice_difference_recorded"].low > 0 > other["dice_difference_repeated"].high
    assert (all_repeated[0] / "figures/repeated_phantom-polyp.png").is_file()


def test_methods_repeated_with_other_seeds_are_not_compared_and_their_table_goes(all_repeated):
    reports = all_repeated[0]
    repeated_report(reports)
    shutil.rmtree(reports / "repeated" / read_record(reports / "runs/phantom-polyp/unet/seed1/record.json")["id"])
    assert len(repeated_report(reports).rows) == 3
    assert not [*reports.glob("tables/repeated_differences_*"), *reports.glob("figures/repeated_*")]


def test_other_images_another_split_and_other_weights_are_refused_before_any_training(clone, trained, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ehanet.repeat.fit", lambda *_, **__: pytest.fail("trained"))
    record = read_record("reports/small/runs/discs/ehanet/seed0/record.json")
    split = trained / "discs.split.csv"
    ids = load_dataset(trained / "discs", size=32).ids
    split.write_text("name,split\n" + "".join(f"{name},{('test', 'val', 'train', 'train')[index % 4]}\n" for index, name in enumerate(ids)))
    try:
        assert main(["small/discs/ehanet/seed0"]) == 1
    finally:
        split.unlink()
    assert f"small/discs/ehanet/seed0 was trained on other images or another split of discs than are here; it had discs (SHA-256 {record['data']['sources'][0]['sha256'][:12]}), split by rule" \
        in capsys.readouterr().err
    weights, kept = trained / "encoder.safetensors", (trained / "encoder.safetensors").read_bytes()
    save_file(build_model("ehanet", encoder="resnet18").encoder.net.state_dict(), weights)
    os.utime(weights, (1, 1))
    try:
        assert main(["small/discs/ehanet/seed0"]) == 1
    finally:
        weights.write_bytes(kept)
    said = capsys.readouterr().err
    assert f"small/discs/ehanet/seed0 had another file of this name (SHA-256 {record['encoder_weights_sha256'][:12]}," in said and said.count("\n") == 1


def test_a_run_is_found_by_name_folder_and_id_and_a_wrong_one_named(clone, capsys):
    folder = Path("reports/small/runs/discs/ehanet/seed0")
    id = read_record(folder / "record.json")["id"]
    assert find_recorded("small/discs/ehanet/seed0") == find_recorded(id) == folder and find_recorded(folder.absolute()) == folder.absolute()
    assert run_name(folder) == "small/discs/ehanet/seed0"
    shutil.copytree(folder, "reports/small/repeated/0/runs/discs/ehanet/seed0")
    shutil.copytree(folder, "runs/small/discs/ehanet/seed0")
    for run, part in (("small/discs/lanet/seed0", "one of small/discs/ehanet/seed0, small/discs/ehanet/seed1"), ("large/discs/ehanet/seed0", "one of small/"),
                      ("0123456789abcdef", "no recorded run '0123456789abcdef'"), ("", "RUN: give the run to repeat"), (str(clone / "reports/small/runs/none"), "no recorded run"),
                      ("reports/small/repeated/0/runs/discs/ehanet/seed0", "no recorded run"), ("runs/small/discs/ehanet/seed0", "no recorded run")):
        assert main(["--", run]) == 1
        said = capsys.readouterr().err
        assert part in said and said.count("\n") == 1, said
    shutil.copytree("reports/small", "reports/tall")
    with pytest.raises(ValueError, match=f"RUN: {id} is in several reports; give one of small/discs/ehanet/seed0, tall/discs/ehanet/seed0"):
        find_recorded(id)
    shutil.rmtree("reports/small/scores")
    with pytest.raises(FileNotFoundError, match="has no scores of small/discs/ehanet/seed0 to compare with"):
        repeat_run(folder)


def test_precision_and_threads_are_those_of_the_record(clone, monkeypatch):
    """Where the recorded machine's own choice was another one."""
    seen, before = [], torch.get_num_threads()

    def fit(config, *_, **__):
        seen.append((config.precision, torch.get_num_threads()))
        raise InterruptedError

    monkeypatch.setattr("ehanet.repeat.fit", fit)
    monkeypatch.setattr("ehanet.repeat.compute_dtype", lambda precision, device: torch.float32 if precision == "float32" else torch.bfloat16)  # a machine fast at bfloat16
    folder = find_recorded("small/discs/ehanet/seed0")
    record = read_record(folder / "record.json")
    for precision, threads in (("float32", 1), ("bfloat16", 2)):
        changed = record | {"config": record["config"] | {"precision": "auto"}, "precision": precision, "device": record["device"] | {"threads": threads}}
        changed["id"] = record_id({key: value for key, value in changed.items() if key != "id"})
        monkeypatch.setattr("ehanet.repeat.read_record", lambda path, changed=changed: changed if path == folder / "record.json" else {"inputs": [changed["id"]]})
        with pytest.raises(InterruptedError):
            repeat_run(folder)
    torch.set_num_threads(before)
    assert seen == [("float32", 1), ("auto", 2)]  # where "auto" chooses the same, the configuration stays as it was, and with it the checkpoint's hash


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="asks for a device that is not here")
def test_a_run_of_a_device_that_is_not_here_is_repeated_on_this_one(clone, monkeypatch):
    seen = []

    def fit(config, *_, **__):
        seen.append(config.device)
        raise InterruptedError

    monkeypatch.setattr("ehanet.repeat.fit", fit)
    folder = find_recorded("small/discs/ehanet/seed0")
    record = read_record(folder / "record.json")
    for device in ("mps", "cpu"):
        changed = record | {"config": record["config"] | {"device": device}}
        changed["id"] = record_id({key: value for key, value in changed.items() if key != "id"})
        monkeypatch.setattr("ehanet.repeat.read_record", lambda path, changed=changed: changed if path == folder / "record.json" else {"inputs": [changed["id"]]})
        with pytest.raises(InterruptedError):
            repeat_run(folder)
    assert seen == ["auto", "cpu"]


def test_a_run_on_a_union_is_found_on_each_part():
    """Its records say where: of the shipped checkpoint's training the report has scores on every data set."""
    folder = Path(__file__).resolve().parents[1] / "reports/universal/runs/universal/ehanet-mobilenetv1/seed0"
    if not folder.is_dir():
        pytest.skip("reports/ is not in this copy of the sources")
    found = recorded_scores(folder, read_record(folder / "record.json")["id"])
    assert {"kvasir-seg", "dsb2018", "isic2018", "lgg", "phantom-polyp"} <= set(found) and all(np.isfinite(read_scores(path)["dice"]).all() for path in found.values())


def test_a_union_is_trained_once_and_scored_on_every_part(tmp_path, monkeypatch):
    """As make paper makes it: one training, scores on each data set."""
    monkeypatch.chdir(tmp_path)
    config = RunConfig(dataset="universal-phantoms", method="unet-32", size=32, epochs=1, epoch_images=16, batch_size=8, precision="float32", device="cpu")
    run_dir, kept = tmp_path / "runs/all/universal-phantoms/unet-32/seed0", tmp_path / "reports/all/runs/universal-phantoms/unet-32/seed0"
    record = fit(config, run_dir, progress=False)
    kept.mkdir(parents=True)
    shutil.copyfile(run_dir / "record.json", kept / "record.json")
    parts = ("phantom-polyp", "phantom-nuclei")
    for name in parts:
        evaluate_runs(load_dataset(name, size=32), run_dir.parents[1], tmp_path / "reports/all", [{"method": "unet-32", "label": "unet-32", "seed": 0}])
    again = repeat_run(find_recorded("all/universal-phantoms/unet-32/seed0"), progress=False)
    assert again["checkpoint_sha256"] == record["checkpoint_sha256"]
    assert not list(Path("runs/repeated").rglob("last.pt")) and len(list(Path("runs/repeated").rglob("best.pt"))) == 1
    rows = repeated_report("reports/all").rows
    assert {row["dataset"] for row in rows} == {"Phantom polyps", "Phantom nuclei"} and {row["weights"] for row in rows} == {"the same bits"}
