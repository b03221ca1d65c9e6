"""Downloads against a server on loopback: resumed, checked, nothing half-written under the final name."""

from __future__ import annotations

import errno
import hashlib
import io
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from archives import kvasir, make_zip

import ehanet.data.download
from ehanet.data import load_dataset
from ehanet.data.__main__ import main
from ehanet.data.catalogue import CATALOGUE, UNIONS
from ehanet.data.download import download, download_dataset, missing_archives

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """A file server whose manners the test sets: ranges or not, ETag or not, connections that break at the cuts, pauses between blocks."""

    def __init__(self, server_state, *arguments):
        self.state = server_state
        super().__init__(*arguments)

    def do_GET(self):
        state = self.state
        state["requests"].append(dict(self.headers))
        if state["status"] != 200:
            self.send_error(state["status"])
            return
        body, start = state["content"], 0
        wanted = self.headers.get("Range")
        if wanted and state["ranges"] and self.headers.get("If-Range") == state["etag"]:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        if state["etag"]:
            self.send_header("ETag", state["etag"])
        if state["length"]:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        stop = len(body)
        if len(state["requests"]) <= state["broken_requests"]:
            stop = min((cut for cut in state["cuts"] if cut > start), default=stop)
        try:
            for place in range(start, stop, 2**18):
                self.wfile.write(body[place:min(stop, place + 2**18)])
                time.sleep(state["pause"])
        except (BrokenPipeError, ConnectionResetError):
            pass

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    state = {"requests": [], "status": 200, "content": CONTENT, "ranges": True, "etag": '"v1"', "cuts": (), "broken_requests": 99, "pause": 0, "length": True}
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, state))
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state["url"] = f"http://127.0.0.1:{httpd.server_port}/data.zip"
    yield state
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_whole_download(server, tmp_path):
    target = tmp_path / "new" / "data.zip"
    assert download(server["url"], target, SHA256) == target
    assert target.read_bytes() == CONTENT and names(target.parent) == ["data.zip"]


def test_a_broken_connection_is_resumed_where_it_stopped(server, tmp_path):
    server.update(cuts=(1_000_000, 2_000_000))
    download(server["url"], tmp_path / "data.zip", SHA256)
    assert (tmp_path / "data.zip").read_bytes() == CONTENT
    ranges = [request["Range"] for request in server["requests"] if "Range" in request]
    assert ranges == ["bytes=1000000-", "bytes=2000000-"]


def test_an_interrupted_download_leaves_a_part_and_is_resumed_by_the_next_call(server, tmp_path, monkeypatch):
    blocks = []

    class Interrupting(ehanet.data.download.tqdm):
        def update(self, n=1):
            blocks.append(n)
            if len(blocks) == 4:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ehanet.data.download, "tqdm", Interrupting)
        with pytest.raises(KeyboardInterrupt):
            download(server["url"], tmp_path / "data.zip", SHA256)
    (part,) = tmp_path.iterdir()
    assert part.name.startswith("data.zip.") and part.suffix == ".part"
    have = part.stat().st_size
    assert 0 < have < len(CONTENT)
    server["requests"].clear()
    download(server["url"], tmp_path / "data.zip", SHA256)
    assert server["requests"][-1]["Range"] == f"bytes={have}-" and server["requests"][-1]["If-Range"] == '"v1"'
    assert (tmp_path / "data.zip").read_bytes() == CONTENT and names(tmp_path) == ["data.zip"]


@pytest.mark.parametrize("manners", [{"ranges": False}, {"etag": None}, {"etag": 'W/"v1"'}])
def test_servers_that_cannot_resume_are_read_from_the_start(server, tmp_path, manners):
    server.update(manners, cuts=(1_000_000,), broken_requests=1)
    download(server["url"], tmp_path / "data.zip", SHA256)
    assert (tmp_path / "data.zip").read_bytes() == CONTENT and names(tmp_path) == ["data.zip"]


def test_an_archive_of_unknown_length_is_whole_or_not_there(server, tmp_path, monkeypatch):
    monkeypatch.setattr("ehanet.data.download.ATTEMPTS", 2)
    with zipfile.ZipFile(whole := io.BytesIO(), "w") as archive:
        archive.writestr("a", CONTENT[:300_000])
    server.update(content=whole.getvalue(), length=False, cuts=(200_000,), broken_requests=2)
    with pytest.raises(OSError, match="the connection broke 2 times .what arrived is no whole zip archive.; run again"):
        download(server["url"], tmp_path / "data.zip")
    assert not (tmp_path / "data.zip").exists()
    assert download(server["url"], tmp_path / "data.zip").read_bytes() == whole.getvalue()


def test_a_part_of_another_version_is_not_continued(server, tmp_path):
    server.update(cuts=(1_000_000,), ranges=False)
    with pytest.raises(OSError, match="the connection broke 4 times .*run again to resume"):
        download(server["url"], tmp_path / "data.zip")
    assert len(names(tmp_path)) == 1
    server.update(content=CONTENT[::-1], etag='"v2"', ranges=True, cuts=())
    server["requests"].clear()
    download(server["url"], tmp_path / "data.zip")
    assert (tmp_path / "data.zip").read_bytes() == CONTENT[::-1] and names(tmp_path) == ["data.zip"]
    assert not any("Range" in request for request in server["requests"])


def test_a_complete_part_is_only_checked(server, tmp_path, monkeypatch):
    monkeypatch.setattr(ehanet.data.download, "file_sha256", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        download(server["url"], tmp_path / "data.zip", SHA256)
    monkeypatch.undo()
    server["requests"].clear()
    download(server["url"], tmp_path / "data.zip", SHA256)
    assert len(server["requests"]) == 1 and (tmp_path / "data.zip").read_bytes() == CONTENT


def test_a_wrong_hash_is_refused_and_removed(server, tmp_path):
    with pytest.raises(ValueError, match=f"SHA-256 {SHA256} instead of the official {'0' * 64}"):
        download(server["url"], tmp_path / "data.zip", "0" * 64)
    assert names(tmp_path) == []


@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_refusal_is_one_line(server, tmp_path, status):
    server["status"] = status
    with pytest.raises(OSError, match=f"data.zip: the server answers {status} .*SOURCE=") as caught:
        download(server["url"], tmp_path / "data.zip")
    assert "\n" not in str(caught.value) and names(tmp_path) == []


def test_no_server_is_one_line(tmp_path):
    with pytest.raises(OSError, match="no connection .*SOURCE="):
        download("http://127.0.0.1:9/data.zip", tmp_path / "data.zip")
    assert names(tmp_path) == []


def test_too_little_space_is_said_before_the_first_byte(server, tmp_path, monkeypatch):
    monkeypatch.setattr(ehanet.data.download.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1_000_000})())
    with pytest.raises(OSError, match="3 MB are still to come and 1 MB are free"):
        download(server["url"], tmp_path / "data.zip")
    assert not (tmp_path / "data.zip").exists()


def test_a_disk_that_fills_up_leaves_only_the_part(server, tmp_path, monkeypatch):
    real = ehanet.data.download._copy

    class Full:
        def __init__(self, file):
            self.file, self.name, self.left = file, file.name, 4

        def write(self, block):
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(block)

    monkeypatch.setattr(ehanet.data.download, "_copy", lambda response, file, *rest: real(response, Full(file), *rest))
    with pytest.raises(OSError, match="cannot be written .No space left on device.; make space and run again to resume"):
        download(server["url"], tmp_path / "data.zip")
    assert [name.endswith(".part") for name in names(tmp_path)] == [True]
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    download(server["url"], tmp_path / "data.zip", SHA256)
    assert names(tmp_path) == ["data.zip"]


def test_a_second_process_does_not_write_into_the_same_part(server, tmp_path):
    server.update(cuts=(1000,), ranges=False)
    with pytest.raises(OSError, match="broke 4 times"):
        download(server["url"], tmp_path / "data.zip")
    server["cuts"] = ()
    holder = f"from pathlib import Path; from ehanet.data import download; download._download = lambda *_: (print('here', flush=True), input()); download.download('', Path({str(tmp_path / 'data.zip')!r}))"
    with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "here\n"
        with pytest.raises(OSError, match="data.zip is being fetched by another process; wait for it to finish"):
            download(server["url"], tmp_path / "data.zip")
        other.kill()
    assert download(server["url"], tmp_path / "data.zip").read_bytes() == CONTENT


def test_a_data_set_is_fetched_imported_and_described(server, tmp_path, fresh_cache, monkeypatch, capsys):
    content = make_zip(tmp_path / "made.zip", kvasir([f"p{n}" for n in range(5)])).read_bytes()
    server["content"] = content
    entry = CATALOGUE["kvasir-seg"]
    (archive,) = entry.archives
    local = replace(entry, archives=(replace(archive, url=server["url"], sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)),), count=5)
    monkeypatch.setitem(CATALOGUE, "kvasir-seg", local)
    assert [archive.file_name for archive in missing_archives("kvasir-seg")] == ["kvasir-seg.zip"]
    assert main(["kvasir-seg", "--download", "--size", "16"]) == 0
    output = capsys.readouterr().out
    assert "kvasir-seg: fetching kvasir-seg.zip" in output and "3/1/1" in output and "yes" in output and "note" not in output
    data = load_dataset("kvasir-seg", size=16)
    assert data.manifest["sources"][0]["official"] is True and data.manifest["warnings"] == []
    assert missing_archives("kvasir-seg") == [] and download_dataset("kvasir-seg") == []
    assert len(server["requests"]) == 1
    assert main(["kvasir-seg", "--download", "--size", "16", "--root", str(tmp_path / "elsewhere")]) == 0
    assert names(tmp_path / "elsewhere") == ["kvasir-seg.zip"]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)  # where a ~ that stays as it is would become a folder
    assert main(["kvasir-seg", "--download", "--size", "16", "--root", "~/home"]) == 0
    assert names(tmp_path / "home") == ["kvasir-seg.zip"] and not (tmp_path / "~").exists()
    capsys.readouterr()
    assert main(["--source", "~/home", "--size", "16"]) == 0
    assert "lgg: not in" in (said := capsys.readouterr().out) and "kvasir-seg: not" not in said
    assert main(["--source", "~nobody-of-that-name"]) == 1


def test_the_front_reports_errors_in_one_line_each(tmp_path, fresh_cache, capsys):
    assert main(["lgg", "nonsense", "phantom-polyp", "--source", str(tmp_path), "--size", "32"]) == 1
    captured = capsys.readouterr()
    assert len(captured.err.strip().splitlines()) == 2 and "phantom-polyp" in captured.out
    assert main(["lgg", "--download"]) == 1
    assert "lgg has no direct download: log in at Kaggle" in capsys.readouterr().err
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in CATALOGUE)


def test_of_a_union_all_that_can_be_fetched_comes_first(fresh_cache, monkeypatch, capsys):
    fetched = []
    monkeypatch.setitem(UNIONS, "universal", ("lgg", "kvasir-seg", "phantom-polyp"))
    monkeypatch.setattr("ehanet.data.__main__.download_dataset", lambda name, root: fetched.append(name) or (name == "lgg" and download_dataset(name, root)))
    assert main(["universal", "--download"]) == 1
    said = capsys.readouterr()
    assert fetched == ["kvasir-seg", "lgg"] and "kvasir-seg: fetching kvasir-seg.zip" in said.out
    assert said.err.startswith("universal: lgg has no direct download: log in at Kaggle")


def test_a_folder_that_does_not_exist_is_named_once(capsys):
    assert main(["--source", "/nowhere/archives"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err == "--source: /nowhere/archives does not exist; name the folder that holds the archives\n"


@pytest.mark.parametrize(("arguments", "told"), [(["--download"], "--download: name what to fetch: kvasir-seg, "),
                                                 (["lgg", "--download", "--source", "/d"], "--download: nothing is fetched into --source; leave one of the two out"),
                                                 ([""], "the name of a data set is empty; name a folder")])
def test_a_command_that_says_too_little_or_too_much_is_refused(arguments, told, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert told in capsys.readouterr().err
