"""Verdicts on the paper's claims follow from the numbers, and from nothing else."""

import json

import numpy as np
import pandas as pd
import pytest
from reporting_inputs import make_dataset, make_reports

from ehanet.files import file_sha256
from ehanet.metrics.resampling import permutation_pvalues
from ehanet.metrics.statistics import smallest_p
from ehanet.record_schema import record_id
from ehanet.records import read_beside, write_record
from ehanet.reporting.claims import BUILDABLE, ROBUST, decide, write_claims
from ehanet.reporting.results import PHANTOM, REPRODUCED
from ehanet.reporting.tables import Column, Score, Table, read_table, write_table

IMAGENET = "mobilenetv1_100.imagenet.safetensors, fine-tuned"


@pytest.mark.parametrize("mark, encoder, seeds, better, more, verdict", [
    (REPRODUCED, IMAGENET, [3, 3, 3], True, {}, "supported"),
    (REPRODUCED, IMAGENET, [3, 3, 3], False, {"lacking": "some not compared"}, "not supported"),
    (REPRODUCED, IMAGENET, [3, 3, 3], False, {"worse": True}, "not supported: worse"),
    (REPRODUCED, IMAGENET, [1, 1, 1], False, {"worse": True}, "not decidable here: worse, but trained fewer than 3 times"),
    (REPRODUCED, IMAGENET, [3, 3, 3], True, {"lacking": "some not compared"}, "not decidable here: better, but some not compared"),
    (REPRODUCED, IMAGENET, [3, 3, 3], False, {"reachable": 0.0625, "drawn": "patients"}, "not decidable here: so few patients that no difference is significant"),
    (REPRODUCED, IMAGENET, [1, 1, 1], False, {}, "not decidable here: not clearly better, but trained fewer than 3 times"),
    (REPRODUCED, IMAGENET, [3, 3, 1], True, {}, "not decidable here: better, but trained fewer than 3 times"),
    (REPRODUCED, "random, trained", [3, 3, 3], False, {}, "not decidable here: encoder from random weights, the paper's from ImageNet"),
    (REPRODUCED, IMAGENET, [], False, {}, "not decidable here: nothing compared on equal terms"),
    (PHANTOM, IMAGENET, [3, 3, 3], True, {}, "not decidable here: images drawn by code"),
])
def test_the_rule(mark, encoder, seeds, better, more, verdict):
    assert decide(mark, encoder, seeds, better, **more) == verdict


def test_seven_patients_leave_room_for_three_comparisons():
    seven = np.array([0, 0, 1, 2, 3, 4, 5, 6])
    assert smallest_p(seven) == 2 / 128 == permutation_pvalues(np.ones((1, 8)), seven, 10_000, 0)[0]
    assert 3 * smallest_p(seven) < 0.05 < 4 * smallest_p(seven)


def test_a_verdict_names_what_is_too_few(tmp_path):
    reports = make_reports(tmp_path, make_dataset("kvasir-seg", count=12), {"ehanet": 0.05, **dict.fromkeys(BUILDABLE[:2], 0.4)}, seeds=(0, 1, 2), encoder=IMAGENET)
    assert by_claim(write_claims(reports), "mDice than")["verdict"] == "not decidable here: so few images that no difference is significant"


def write_corrupted(reports, dice):
    """robustness/kvasir-seg.csv of three seeds of each label, whose images lose a twentieth a severity from ``dice`` on."""
    rows = [{"method": label, "label": label, "seed": seed, "corruption": "blur", "severity": severity, "image": f"image{index}", "dice": clean + 0.002 * index - 0.05 * severity}
            for label, clean in dice.items() for seed in (0, 1, 2) for severity in (0, 1, 2) for index in range(12)]
    (reports / "robustness").mkdir()
    path = reports / "robustness/kvasir-seg.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    trained = [name for label in dice for seed in (0, 1, 2) for name in read_beside(reports / f"scores/kvasir-seg/{label}__seed{seed}.csv")["inputs"]]
    write_record(path.with_suffix(".json"), "scores", csv_sha256=file_sha256(path), data=make_dataset("kvasir-seg").manifest, inputs=trained, absent=[], images=12)
    return path


def by_claim(table, name):
    return next(row for row in table.rows if name in row["claim"])


def test_a_clear_lead_is_supported_and_its_difference_is_that_of_the_csv(tmp_path):
    reports = make_reports(tmp_path, make_dataset("kvasir-seg"), {"ehanet": 0.05} | {name: 0.5 + 0.02 * number for number, name in enumerate(BUILDABLE)}, seeds=(0, 1, 2),
                           encoder=IMAGENET)
    row = by_claim(write_claims(reports), "mDice than")
    means = {label: np.mean([pd.read_csv(reports / f"scores/kvasir-seg/{label}__seed{seed}.csv")["dice"].mean() for seed in (0, 1, 2)]) for label in ("ehanet", *BUILDABLE)}
    strongest = max(means[name] for name in BUILDABLE)
    assert row["verdict"] == "supported" and row["p"] == "< 0.001" and f"(best of {len(BUILDABLE)})" in row["against"]
    assert row["difference"].mean == pytest.approx(means["ehanet"] - strongest, abs=1e-6)
    assert row["difference"].low < row["difference"].mean < row["difference"].high and row["difference"].low > 0
    again = read_table(reports / "tables/claims.csv")
    assert [one["verdict"] for one in again.rows] == ["supported"] * 3 and again.rows[0]["paper"] == "not public"


def test_a_robustness_study_of_some_methods_does_not_speak_for_all(tmp_path):
    reports = make_reports(tmp_path, make_dataset("kvasir-seg"), {"ehanet": 0.05} | {name: 0.5 + 0.02 * number for number, name in enumerate(BUILDABLE)}, seeds=(0, 1, 2),
                           encoder=IMAGENET)
    write_corrupted(reports, {"ehanet": 0.8, "unet": 0.5})
    table = write_claims(reports)
    assert by_claim(table, "mDice than")["verdict"] == "supported"
    assert by_claim(table, ROBUST)["verdict"] == "not decidable here: better, but 6 of the paper's 7 methods that can be built not compared on equal terms"


def test_no_lead_is_not_supported_and_other_terms_are_not_compared(tmp_path):
    reports = make_reports(tmp_path, make_dataset("kvasir-seg"), {"ehanet": 0.4, "unet": 0.1, "lanet": 0.01}, encoder=IMAGENET)
    assert {row["verdict"] for row in write_claims(reports).rows} == {"not decidable here: worse, but trained fewer than 3 times"}
    record = reports / "scores/kvasir-seg/unet__seed0.json"
    content = json.loads(record.read_text())
    content["config"]["learning_rate"] = 1.0
    record.write_text(json.dumps(content | {"id": record_id(content)}))
    rows = [row for row in write_claims(reports).rows if "compared methods" in row["claim"]]  # LANet is none of the paper's
    assert len(rows) == 3 and {row["verdict"] for row in rows} == {"not decidable here: nothing compared on equal terms"} and {row["against"] for row in rows} == {""}


def test_repeated_trainings_are_told_where_there_are_some(tmp_path):
    reports = make_reports(tmp_path, make_dataset("kvasir-seg"), {"ehanet": 0.1, "unet": 0.3}, encoder=IMAGENET)
    assert not any("Made again" in note for note in write_claims(reports).notes)
    for changes, said in (((-0.0051, 0.0126), "2 trainings of this report changed their mDice by −0.005 to +0.013 (tables/repeated)"),
                          ((0.0126,), "one training of this report changed its mDice by +0.013 (tables/repeated)")):
        rows = [{"dice_change": Score(change, 0.0, 0.02)} for change in changes]
        record = write_table(Table("repeated", "", REPRODUCED, [Column("dice_change", "", "score")], rows), reports / "tables", [])
        assert write_claims(reports).notes[-1].startswith(f"Made again, on another machine or with other code, {said}")
        assert record["id"] in read_beside(reports / "tables/claims.csv")["inputs"]


def test_one_method_alone_has_no_claims(tmp_path):
    reports = make_reports(tmp_path, make_dataset("kvasir-seg"), {"ehanet": 0.1, "lanet": 0.2}, encoder=IMAGENET)
    assert write_claims(reports) and (reports / "tables/claims.csv").is_file()
    listing = reports / "scores/kvasir-seg/methods.json"
    listing.write_text(json.dumps(json.loads(listing.read_text())[:1]))
    assert write_claims(reports) is None and not list((reports / "tables").glob("claims*"))
    other = make_reports(tmp_path / "phantom", make_dataset(), {"ehanet": 0.1, "resnet34-unet": 0.2})  # the paper has no such method and no such data
    assert write_claims(other) is None and not list(other.glob("tables/claims*"))


def test_modules_and_corruptions_get_their_own_rows(tmp_path):
    reports = make_reports(tmp_path, make_dataset("kvasir-seg"), {"ehanet": 0.05, "ehanet-no-iem": 0.5, "unet": 0.3}, seeds=(0, 1, 2), encoder=IMAGENET)
    for seed in (0, 1, 2):
        record = reports / f"scores/kvasir-seg/ehanet-no-iem__seed{seed}.json"
        content = json.loads(record.read_text())
        content["config"]["options"] = {"iem": False}
        record.write_text(json.dumps(content | {"id": record_id(content)}))
        for label in ("ehanet", "unet"):
            other = reports / f"scores/kvasir-seg/{label}__seed{seed}.json"
            content = json.loads(other.read_text())
            content["config"]["options"] = {}
            other.write_text(json.dumps(content | {"id": record_id(content)}))
    corrupted = write_corrupted(reports, {"ehanet": 0.5, "unet": 0.8})
    table = write_claims(reports)
    assert by_claim(table, "IEM helps")["verdict"] == by_claim(table, "IEM makes edges")["verdict"] == "supported"
    assert "EFA" not in " ".join(row["claim"] for row in table.rows)
    assert by_claim(table, "mDice than")["verdict"] == "not decidable here: better, but 6 of the paper's 7 methods that can be built not compared on equal terms"
    robust = by_claim(table, ROBUST)
    assert robust["verdict"] == "not supported: worse" and robust["difference"].mean == pytest.approx(-0.3) and "0.436" in robust["here"]
    about = read_beside(corrupted)
    assert about["id"] in read_beside(reports / "tables/claims.csv")["inputs"]
    others = {key: value for key, value in about.items() if key != "id"} | {"inputs": [name for name in about["inputs"] if name not in about["inputs"][:3]]}
    corrupted.with_suffix(".json").write_text(json.dumps(others | {"id": record_id(others)}))
    assert ROBUST not in [row["claim"] for row in write_claims(reports).rows if row["against"]]  # EHANet's scores are of an earlier training
    corrupted.write_text(corrupted.read_text().replace("0.5", "0.9"))
    with pytest.raises(ValueError, match="kvasir-seg.csv was altered after it was written"):
        write_claims(reports)


def test_decoders_are_compared_on_the_same_encoder_alone(tmp_path):
    reports = make_reports(tmp_path, make_dataset("kvasir-seg"), {"ehanet": 0.05, "lanet": 0.4}, seeds=(0, 1, 2), encoder=IMAGENET, encoder_weights="a.safetensors")
    table = write_claims(reports)
    for score in ("mDice", "boundary F1"):
        row = next(row for row in table.rows if "other decoders" in row["claim"] and score in row["claim"])
        assert row["verdict"] == "supported" and row["against"].startswith("LANet") and row["difference"].low > 0
    assert by_claim(table, "Higher mDice than the compared")["verdict"] == "not decidable here: nothing compared on equal terms"
    other = make_reports(tmp_path / "other", make_dataset("kvasir-seg"), {"ehanet": 0.05}, encoder=IMAGENET, encoder_weights="a.safetensors")
    make_reports(tmp_path / "other", make_dataset("kvasir-seg"), {"lanet": 0.4}, encoder=IMAGENET, encoder_weights="b.safetensors")
    (other / "scores/kvasir-seg/methods.json").write_text(json.dumps([{"method": name, "label": name, "seeds": [0], "reason": ""} for name in ("ehanet", "lanet")]))
    assert not any("other decoders" in row["claim"] for row in write_claims(other).rows)


def test_phantoms_decide_nothing_and_no_ehanet_makes_no_table(tmp_path):
    reports = make_reports(tmp_path / "a", make_dataset("phantom-polyp"), {"ehanet": 0.05, "unet": 0.5}, encoder=IMAGENET)
    assert {row["verdict"] for row in write_claims(reports).rows} == {"not decidable here: images drawn by code"}
    other = make_reports(tmp_path / "b", make_dataset("phantom-polyp"), {"lanet": 0.05, "unet": 0.5})
    assert write_claims(other) is None and not (other / "tables").exists()


def test_a_lead_must_hold_in_every_training(tmp_path):
    reports = make_reports(tmp_path, make_dataset("kvasir-seg"), {"ehanet": 0.05} | dict.fromkeys(BUILDABLE, 0.5), seeds=(0, 1, 2), encoder=IMAGENET)
    assert by_claim(write_claims(reports), "mDice than")["verdict"] == "supported"
    scores = reports / "scores/kvasir-seg"
    (scores / "unet__seed1.csv").write_text((scores / "ehanet__seed0.csv").read_text())  # one training of a rival is as good as one of EHANet
    assert by_claim(write_claims(reports), "mDice than")["verdict"] == "not supported"


def test_modules_are_judged_where_a_row_without_them_has_the_same_encoder(tmp_path):
    reports = make_reports(tmp_path, make_dataset("kvasir-seg"), {"ehanet": 0.3, "ehanet-no-iem": 0.5, "ehanet-mobilenetv1": 0.05}, seeds=(0, 1, 2))
    for path in (reports / "scores/kvasir-seg").glob("*__seed?.json"):
        content = json.loads(path.read_text())
        content["config"]["options"] = {"iem": False} if "no-iem" in path.name else {}
        if "mobilenetv1" in path.name:
            content |= {"encoder": IMAGENET}
            content["config"]["encoder"] = "mobilenetv1_100"
        path.write_text(json.dumps(content | {"id": record_id(content)}))
    table = write_claims(reports)
    assert by_claim(table, "mDice than")["here"].startswith("EHANet, mobilenetv1") and by_claim(table, "IEM helps")["here"].startswith("EHANet: ")
