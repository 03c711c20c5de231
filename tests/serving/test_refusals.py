"""Strangers' requests: each is a status from 400 on and one line, and leaves nothing behind."""

import io
import tempfile
import zipfile
from pathlib import Path

import pytest

from ecgcls.serving import recordings
from ecgcls.serving.limits import Limits, Refused
from ecgcls.serving.uploads import check_name

ENTITIES = b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><RestingECG>&b;</RestingECG>'


@pytest.fixture(autouse=True)
def no_trace(tmp_path, monkeypatch, caplog, capfd):
    """Whatever a test sends is neither on disk afterwards nor logged."""
    monkeypatch.setattr(recordings, "_IN_MEMORY", tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == []
    assert "SECRET" not in caplog.text + "".join(capfd.readouterr())


def refused(answer, status, *words):
    assert answer.status_code == status, answer.text
    error = answer.json()
    assert list(error) == ["error"] and len(error["error"].splitlines()) == 1
    for word in words:
        assert word in error["error"], error
    assert not any(path in answer.text for path in ("/tmp", "/srv", "/dev", tempfile.gettempdir(), "Traceback"))


def post(client, *files, to="predict", **fields):
    return client.post(f"/api/{to}", files=[("file", each) for each in files], data=fields)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (ENTITIES, "declares entities"),
        (b"", "empty"),
        (b"%PDF-1.4", "PDF"),
        (bytes(range(256)) * 4, "unknown"),
        (b"<RestingECG><a></RestingECG>", "GE MUSE XML"),
        (b"PK\x03\x04 no archive", "cannot be unpacked"),
        (b"# sampling_rate_hz=100\nI,II\n1.0,2.0\n", "missing"),
        (b"# sampling_rate_hz=nan\n" + b"I,II\n" + b"0.1,0.2\n" * 9, "sampling"),
    ],
)
def test_what_is_no_ecg(client, content, words):
    for to in ("predict", "batch"):
        answer = post(client, ("SECRET.xml", content), to=to)
        if to == "predict" or content.startswith(b"PK"):
            refused(answer, 422, words)
        else:
            assert answer.json()["error"] and words in answer.json()["error"]


def test_too_large_whatever_is_announced(open_client):
    client = open_client(max_upload_mb=0.1)
    refused(post(client, ("a.csv", b"x" * 100_001)), 413, "at most 0.1 MB")

    def chunks():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(200):
            yield b"x" * 1000

    kind = {"content-type": "multipart/form-data; boundary=b"}
    refused(client.post("/api/predict", content=chunks(), headers=kind), 413)
    assert client.get("/healthz").json()["waiting"] == 0


def test_archives_that_grow(open_client):
    client = open_client(max_upload_mb=1, max_files=10)
    for entries, words in [
        ([("zeros.csv", b"0" * 8_000_000)], "GB"),
        ([(f"{number}.csv", b"") for number in range(30)], "more than 10 files"),
        ([("../SECRET.csv", b"1")], "leads out of its folder"),
        ([("/etc/passwd", b"1")], "leads out of its folder"),
    ]:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in entries:
                archive.writestr(name, content)
        refused(post(client, ("a.zip", packed.getvalue())), 422, words)


def test_forms_that_are_wrong(client, table):
    refused(client.post("/api/predict", json={}), 415, "form")
    refused(client.post("/api/predict", data={"error_rate": "0.1"}, files=[("other", ("a", b""))]), 400, "field file")
    kind = {"content-type": "multipart/form-data; boundary=b"}
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    for body in (b"", b"garbage", head, head + b"I,II", head + b"I,II\r\n--b\r\n", b"--b\r\n\r\n\r\n--b--\r\n"):
        refused(client.post("/api/predict", content=body, headers=kind), 400)
    refused(client.post("/api/predict", content=head, headers={"content-type": "multipart/form-data"}), 400)
    good = ("a.csv", table)
    for fields, words in [
        ({"error_rate": "0.7"}, "error_rate"), ({"error_rate": "x"}, "number"), ({"attribution": "NIX"}, "NIX"),
        ({"metadata": "[1]"}, "JSON object"), ({"metadata": "[" * 60_000}, "JSON object"), ({"draw": "no"}, "draw"),
        ({"metadata": '{"age": 5}'}, "age"), ({"nix": "1"}, "nix"), ({"draw_from_s": "nan"}, "draw_from_s"),
        ({"draw": ["true", "false"]}, "2 times"), ({"metadata": "x" * 70_000}, "64"),
    ]:  # fmt: skip
        refused(post(client, good, **fields), 400, words)
    refused(post(client, good, good), 400, "two files")


@pytest.mark.parametrize(
    "name",
    ["", "/a", "../a", "a/../../b", "a\\b", "c:a", "a\0b", "a\nb", ".", "x" * 300, "/".join("abcdefghij"), "\ud800"],
)
def test_names_that_no_file_has(name):
    with pytest.raises(Refused, match="not a name"):
        check_name(name)


def test_names_keep_their_folders():
    assert check_name("./a/b c.dat") == "a/b c.dat"


def test_too_long_to_keep_others_waiting(open_client, table):
    refused(post(open_client(max_duration_s=9.0), ("a.csv", table)), 422, "longer than 9 s")


def test_what_a_reader_stumbles_over(client, table, monkeypatch):
    def stumble(*_, **__):
        raise KeyError("SECRET of the patient")

    monkeypatch.setattr(recordings, "iter_recording", stumble)
    refused(post(client, ("a.csv", table)), 422, "KeyError")


def test_a_fault_of_the_server_tells_nothing(client, table, monkeypatch):
    monkeypatch.setattr("ecgcls.serving.app._read_wishes", lambda *_, **__: 1 / 0)
    answer = post(client, ("a.csv", table))
    refused(answer, 500, "ZeroDivisionError")


def test_paths_of_the_machine_are_not_told(client, table, monkeypatch):
    from ecgcls.errors import DataError

    def fail(*_, **__):
        raise DataError(f"{Path(tempfile.gettempdir()) / 'ecgcls-x' / 'a.csv'}: bad (/srv/secret/bundle: /opt/x/y.py)")

    monkeypatch.setattr("ecgcls.serving.service.answer", fail)
    answer = post(client, ("a.csv", table))
    refused(answer, 422, "a.csv: bad (the bundle: y.py)")


def test_only_local_names_are_answered(open_client):
    def ask(client, host):
        return client.get("/healthz", headers={"host": host}).status_code

    own, named, outside = open_client(), open_client(hosts=["ecg.example.org"]), open_client(is_local=False)
    assert [ask(own, host) for host in ("127.0.0.1", "localhost:8765", "[::1]:80")] == [200] * 3
    assert [ask(own, host) for host in ("evil.example", "", "localhost.evil.example", "[")] == [421] * 4
    assert ask(named, "ECG.example.org") == ask(outside, "any.example") == 200


def test_headers_and_other_sites(client, table):
    answer = client.get("/healthz", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "unsafe" not in answer.headers["content-security-policy"]
    other = client.post("/api/predict", files={"file": ("a.csv", table)}, headers={"sec-fetch-site": "cross-site"})
    refused(other, 403, "another site")
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd", "/nix"):
        assert client.get(path).status_code == 404
    assert client.get("/api/predict").status_code == 405


def test_unpacked_files_are_in_memory_where_there_is_room(tmp_path):
    assert recordings._choose_place(1) == str(tmp_path)
    assert recordings._choose_place(10**18) is None
    with recordings.Uploaded({"a/b.csv": b"x"}, Limits()) as uploaded:
        assert [path.name for path in uploaded.folder.iterdir()] == ["a"]
        assert uploaded.name(uploaded.folder / "a" / "b.csv") == "a/b.csv"
