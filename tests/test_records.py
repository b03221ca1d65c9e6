"""Records, checkpoints and runs: complete, atomic, and refused when damaged."""

import json
import subprocess
from pathlib import Path

import pytest
import torch

import ehanet
from ehanet import load_run, records
from ehanet.checkpoints import Saver, load_checkpoint, save_checkpoint
from ehanet.files import write_atomically
from ehanet.records import read_record, write_record

ROOT = Path(__file__).parent.parent
RUN = {"config": {"method": "ehanet"}, "seed": 0, "data": {"name": "d", "content": "c" * 64, "split": {"sha256": "5" * 64}}, "device": {"type": "cpu"},
       "precision": "float32", "seconds": 1.5, "steps": 4, "peak_memory_bytes": 10, "encoder": "none", "best": {"epoch": 1}, "warnings": ["w"]}


def test_a_record_says_what_made_it(tmp_path):
    record = write_record(tmp_path / "a" / "record.json", "run", modules=["ehanet.losses"], started=0.0, **{**RUN, "seed": 3})
    assert read_record(tmp_path / "a" / "record.json") == record == json.loads((tmp_path / "a" / "record.json").read_text())
    assert record["schema"] == 1 and record["kind"] == "run" and record["seed"] == 3
    assert record["started"] == "1970-01-01T00:00:00+00:00"
    assert record["code"]["version"] == ehanet.__version__ and len(record["code"]["modules"]["ehanet.losses"]) == 64
    assert record["libraries"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert len(record["id"]) == 16
    other = write_record(tmp_path / "b.json", "run", modules=["ehanet.losses"], started=0.0, **{**RUN, "seed": 4})
    assert other["id"] != record["id"]


@pytest.mark.parametrize("change, message", [
    ({"colour": "red"}, "unknown key 'colour'; put it into 'about'"),
    ({"seed": "3"}, "seed: expected integer, got '3'"),
    ({"seed": True}, "seed: expected integer"),
    ({"steps": None}, "steps: expected integer"),
    ({"data": {**RUN["data"], "content": "short"}}, "data.content: expected sha256"),
    ({"data": {"name": "d", "content": "c" * 64}}, "data.split is missing in a record of kind 'run'"),
    ({"inputs": ["not an id"]}, "inputs: expected ids"),
    ({"weights_sha256": "x"}, "weights_sha256: expected hashes"),
    ({"warnings": "w"}, "warnings: expected texts"),
])
def test_a_record_that_the_schema_does_not_describe_is_not_written(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        write_record(tmp_path / "r.json", "run", **{**RUN, **change})
    with pytest.raises(ValueError, match="seconds is missing"):
        write_record(tmp_path / "r.json", "run", **{key: value for key, value in RUN.items() if key != "seconds"})
    with pytest.raises(ValueError, match="kind: 'note' is none of data, run"):
        write_record(tmp_path / "r.json", "note")
    assert not list(tmp_path.iterdir())


def test_a_package_inside_another_repository_names_none_of_its_commits(tmp_path, monkeypatch):
    """As pip installs it into the folder .venv of somebody's project."""
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=b", "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    package = tmp_path / ".venv" / "ehanet"
    package.mkdir(parents=True)
    (package / "commit.txt").write_text("$Format:%H$\n")
    monkeypatch.setattr(records, "__file__", str(package / "records.py"))
    assert records._commit() == {"commit": None, "dirty": None}


def test_a_run_is_kept_history_first(tmp_path, monkeypatch):
    """A kill between the two files leaves no record, so the run does not count as kept."""
    run, kept = tmp_path / "run", tmp_path / "report" / "run"
    run.mkdir()
    for name in ("history.csv", "record.json"):
        (run / name).write_text(name)
    written = []
    monkeypatch.setattr(records, "write_atomically", lambda path, content: (written.append(path.name), write_atomically(path, content)))
    records.keep_record(run, kept)
    assert written == ["history.csv", "record.json"] and (kept / "record.json").read_text() == "record.json"


def test_an_altered_record_is_refused(tmp_path):
    path = tmp_path / "r.json"
    record = write_record(path, "run", **RUN)
    path.write_text(path.read_text().replace('"steps": 4', '"steps": 5'))
    with pytest.raises(ValueError, match=f"r.json is damaged .its id is {record['id']}, that of its content .* altered after it was written"):
        read_record(path)


def test_every_committed_record_is_as_the_schema_says_and_of_committed_code():
    from test_environment import tracked  # reads the lock, which a copy for mutants lacks

    found = [path for path in (ROOT / "reports").rglob("*.json") if '"schema"' in path.read_text()[:50]]
    records = {path: read_record(path) for path in [*found, *(ROOT / "docs" / "figures").glob("*.json")]}
    assert {record["kind"] for record in records.values()} >= {"data", "scores", "table", "figure"}
    kept = {ROOT / name for name in tracked()}  # a report of one's own may be of code that one is changing
    assert [path for path, record in records.items() if path in kept and record["code"]["dirty"]] == [], "made by code that no commit has"


@pytest.mark.parametrize("text, message", [("{", "damaged"), ("[]", "damaged"), ('{"schema": 99, "id": "x"}', "schema 99, this version reads 1")])
def test_damaged_records_are_refused(tmp_path, text, message):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_record(tmp_path / "r.json")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "x.txt"
    target.write_text("old")

    def write(path):
        path.write_text("half")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomically(target, write)
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_checkpoints_load_weights_only(tmp_path):
    class Evil:
        def __reduce__(self):
            return (print, ("run",))

    torch.save({"model": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="evil.pt is damaged or no checkpoint"):
        load_checkpoint(tmp_path / "evil.pt")


def test_damaged_and_missing_checkpoints(tmp_path):
    save_checkpoint(tmp_path / "a.pt", {"model": {"x": torch.zeros(1000)}, "config": {}})
    whole = (tmp_path / "a.pt").read_bytes()
    for name, content in [("half.pt", whole[: len(whole) // 2]), ("empty.pt", b"")]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} is damaged"):
            load_checkpoint(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="none.pt not found"):
        load_checkpoint(tmp_path / "none.pt")


@pytest.mark.parametrize("beside", [False, True])
def test_checkpoints_hold_the_state_of_the_call_and_errors_come_up(beside, tmp_path):
    save, weights, history = Saver(beside), torch.zeros(10**6), [{"epoch": 1}]
    save({tmp_path / name: {"model": {"x": weights}, "optimizer": {"state": {0: {"step": torch.ones(1), "betas": (0.9, 0.99)}}}, "history": history}
          for name in ("best.pt", "last.pt")})
    weights += 1
    history[0]["epoch"] = 2
    save.wait()
    for name in ("best.pt", "last.pt"):
        state = load_checkpoint(tmp_path / name)
        assert not state["model"]["x"].any() and state["history"] == [{"epoch": 1}]
        assert state["optimizer"] == {"state": {0: {"step": torch.ones(1), "betas": (0.9, 0.99)}}}
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        save({tmp_path / "file" / "best.pt": {}})
        save({tmp_path / "last.pt": {}})
    save.wait()


def test_an_unknown_run_names_the_finished_ones(tmp_path):
    folder = tmp_path / "quick" / "phantom-polyp" / "ehanet" / "seed0"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match="no finished run 'quick/x'; finished: quick/phantom-polyp/ehanet/seed0"):
        load_run("quick/x", runs=tmp_path)


def test_importing_the_package_costs_nothing():
    import subprocess
    import sys

    code = ("import sys, ehanet, ehanet.data, ehanet.metrics, ehanet.records, ehanet.config; "
            "print(*[m for m in ('torch', 'timm', 'torchvision', 'matplotlib') if m in sys.modules])")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
