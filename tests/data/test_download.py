"""Downloads from a real server on loopback that fails in the ways in which servers and networks fail."""

import hashlib
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from ecgcls.data.download import download
from ecgcls.data.mirrors import WebMirror, ZipMirror, parse_sums
from ecgcls.errors import ConfigError, DataError
from tests.commands import ecgcls
from tests.mirrors import SUMS, MirrorServer, hash_file, list_files, write_mirror, write_zip


@pytest.fixture(scope="module")
def mirror(tmp_path_factory, synthetic_root) -> Path:
    """A mirror's folder: 60 simulated records and their list of sums."""
    return write_mirror(tmp_path_factory.mktemp("mirror"), synthetic_root)


@pytest.fixture
def server(mirror):
    served = MirrorServer(mirror)
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.shutdown()
    thread.join()
    served.server_close()


@pytest.fixture
def fetch(server, tmp_path):
    """Download from the server into a folder, without long waits."""

    def fetch(root: Path = tmp_path / "data", *, url: str = server.url, **settings):
        source = WebMirror(url, timeout_s=1, backoff_s=0.01)
        return download(source, root, **({"sampling_rates_hz": [100]} | settings))

    return fetch


def test_all_files_are_there_and_equal(fetch, mirror, tmp_path, server):
    server.delay_s = 0.01
    summary = fetch(n_connections=4)
    names = list_files(mirror)
    assert list_files(tmp_path / "data") == names - {"README.txt"}
    assert all(hash_file(tmp_path / "data" / name) == hash_file(mirror / name) for name in names - {"README.txt"})
    assert summary.n_files == summary.n_fetched == 122  # two tables, 60 headers, 60 signal files
    sizes = [(mirror / name).stat().st_size for name in names - {"README.txt", SUMS}]
    assert summary.n_bytes == summary.n_bytes_fetched == sum(sizes)
    assert 1 < server.most_at_once <= 4


def test_a_second_download_fetches_only_what_is_missing_or_damaged(fetch, server, tmp_path):
    fetch()
    server.requested.clear()
    signals = sorted((tmp_path / "data").rglob("*.dat"))
    signals[0].unlink()
    content = bytearray(signals[1].read_bytes())
    content[7] ^= 1
    signals[1].write_bytes(content)
    assert fetch().n_fetched == 2
    assert set(server.requested) == {SUMS, *(str(path.relative_to(tmp_path / "data")) for path in signals[:2])}


@pytest.mark.parametrize(
    "faults",
    [
        ["503", "503"],
        ["429"],
        ["cut", "cut"],
        ["wrong"],
        ["trickle"],
        ["500", "cut", "wrong"],
        ["retry soon", "retry -3", "retry Thu, 01 Jan 1970 00:00:00 GMT", "retry " + "9" * 5000],
    ],
)
def test_temporary_failures_are_retried(fetch, server, mirror, tmp_path, faults):
    name = "ptbxl_database.csv"
    server.faults[name] = list(faults)
    fetch()
    assert (tmp_path / "data" / name).read_bytes() == (mirror / name).read_bytes()
    assert server.requested[name] == len(faults) + 1


def test_a_server_that_asks_for_a_pause_is_given_one(fetch, server):
    server.faults["ptbxl_database.csv"] = ["429"]  # Retry-After: 1
    start = time.monotonic()
    fetch()
    assert time.monotonic() - start >= 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("404", r"ptbxl_database\.csv: the server answered 404 .*the same command fetches the rest"),
        ("503", r"the server answered 503"),
        ("wrong", r"damaged: .* SHA-256 .* it arrived so 6 times"),
        ("cut", r"IncompleteRead|Connection broken"),
    ],
)
def test_a_lasting_failure_is_one_line(fetch, server, tmp_path, fault, message):
    server.faults["ptbxl_database.csv"] = [fault] * 20
    with pytest.raises(DataError, match=message) as raised:
        fetch()
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "data" / "ptbxl_database.csv").exists()


@pytest.mark.parametrize(
    ("name", "fault", "message"),
    [
        (SUMS, "endless", r"SHA256SUMS\.txt: larger than 50,000,000 bytes, the most that this file can be"),
        ("records100/00000/00001_lr.dat", "endless", r"00001_lr\.dat: larger than 48,000 bytes"),
        ("records100/00000/00001_lr.hea", "endless", r"00001_lr\.hea: larger than 64,000 bytes"),
        ("ptbxl_database.csv", "gzip", r"ptbxl_database\.csv: the server compresses it \(gzip\)"),
        (
            "ptbxl_database.csv",
            "location file:///etc/passwd",
            "redirected to 'file:///etc/passwd', expected an address",
        ),
        ("ptbxl_database.csv", "location ftp://127.0.0.1/a", "redirected to 'ftp.*', expected an address of the web"),
        ("ptbxl_database.csv", "retry 999999", "asks to come back in 999,999 s"),
    ],
)
def test_what_no_other_attempt_would_mend_is_tried_once(fetch, server, tmp_path, name, fault, message):
    server.faults[name] = [fault] * 20
    with pytest.raises(DataError, match=message):
        fetch()
    assert server.requested[name] == 1
    assert not (tmp_path / "data" / name).exists()


def test_redirections_are_followed_and_other_servers_told_once(fetch, server, mirror, tmp_path, caplog):
    moved = ["ptbxl_database.csv", "records100/00000/00001_lr.dat", "records100/00000/00001_lr.hea"]
    other = server.url.replace("127.0.0.1", "localhost")
    server.faults = {name: [f"location {other}{name}"] for name in moved}
    server.faults |= {"scp_statements.csv": ["location /moved"], "moved": ["location scp_statements.csv"]}
    fetch()
    assert (tmp_path / "data" / moved[1]).read_bytes() == (mirror / moved[1]).read_bytes()
    told = [text for text in caplog.messages if "redirects" in text]
    assert told == [f"{server.url[7:-1]} redirects to {other[7:-1]}"]
    server.faults["ptbxl_database.csv"] = ["location ptbxl_database.csv"] * 20
    (tmp_path / "data" / "ptbxl_database.csv").unlink()
    with pytest.raises(DataError, match="redirected more than 5 times"):
        fetch()


def test_an_encrypted_address_never_becomes_a_plain_one():
    source = WebMirror("https://example.org/")
    with pytest.raises(DataError, match=r"'http://example\.org/a', which is not encrypted"):
        source._follow("https://example.org/a", "http://example.org/a")
    assert source._follow("https://example.org/a", "/b") == "https://example.org/b"


def test_a_list_with_a_byte_order_mark_is_read_and_its_own_hash_can_be_asked_for(fetch, server, mirror, caplog):
    server.faults[SUMS] = ["bom"]
    found = hashlib.sha256(b"\xef\xbb\xbf" + (mirror / SUMS).read_bytes()).hexdigest()
    summary = fetch(sums_sha256=found.upper())
    assert (summary.n_files, summary.is_official, summary.sums_sha256) == (122, False, found)
    assert any("This source is a mirror" in text for text in caplog.messages)
    with pytest.raises(DataError, match=f"expected {'0' * 64}: do not use this source"):
        fetch(sums_sha256="0" * 64)


def test_one_missing_file_does_not_stop_the_others(fetch, server, mirror, tmp_path):
    lost = next(name for name in sorted(list_files(mirror)) if name.endswith(".dat"))
    server.faults[lost] = ["404"]
    with pytest.raises(DataError, match=lost.replace(".", r"\.")):
        fetch()
    assert list_files(mirror) - list_files(tmp_path / "data") == {lost, "README.txt"}
    assert fetch().n_fetched == 1


def test_many_missing_files_stop_the_download(fetch, server, mirror):
    for name in list_files(mirror):
        if name.startswith("records100"):
            server.faults[name] = ["404"]
    with pytest.raises(DataError, match=r"of 120 files are missing"):
        fetch(n_connections=1)
    assert sum(server.requested.values()) < 40


def test_an_answer_whose_head_never_ends_is_given_up(server):
    server.faults[SUMS] = ["continue"] * 20
    start = time.monotonic()
    with pytest.raises(DataError, match=r"SHA256SUMS\.txt: Read timed out"):
        WebMirror(server.url, timeout_s=0.1, backoff_s=0.001).read(SUMS)
    assert time.monotonic() - start < 5


def test_an_unreachable_server_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9/SHA256SUMS\.txt: .*refused"):
        download(WebMirror("http://127.0.0.1:9/", timeout_s=1, backoff_s=0.01), tmp_path, sampling_rates_hz=[100])


@pytest.mark.parametrize(
    "path", ["../outside.csv", "/etc/outside.csv", "records100/../../outside", "a\\..\\..\\outside", "C:/outside"]
)
def test_a_path_that_leads_out_is_refused(tmp_path, path):
    with pytest.raises(DataError, match="leads out of the data set's folder"):
        parse_sums(f"{'0' * 64} ptbxl_database.csv\n{'0' * 64} {path}\n")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(SUMS, "")
        archive.writestr(path, "outside")
    with pytest.raises(DataError, match="leads out of the data set's folder"):
        ZipMirror(tmp_path / "a.zip")


def test_a_malformed_list_is_refused():
    with pytest.raises(DataError, match=r"SHA256SUMS.txt, line 1: expected '<sha256> <path>', got '<html>'"):
        parse_sums("<html>")


@pytest.mark.parametrize("folder", ["", "ptb-xl-1.0.3/"])
def test_a_zip_gives_the_same_files(mirror, tmp_path, folder):
    archive = write_zip(tmp_path / "ptbxl.zip", mirror, folder)
    summary = download(ZipMirror(archive), tmp_path / "data", sampling_rates_hz=[100])
    assert summary.n_fetched == 122
    assert list_files(tmp_path / "data") == list_files(mirror) - {"README.txt"}


def test_a_damaged_zip_is_an_error(mirror, tmp_path):
    archive = write_zip(tmp_path / "ptbxl.zip", mirror)
    content = bytearray(archive.read_bytes())
    place = content.index(b"ptbxl_database.csv") + 200
    content[place] ^= 0xFF
    archive.write_bytes(content)
    with pytest.raises(DataError, match=r"ptbxl_database\.csv: (the archive is )?damaged"):
        download(ZipMirror(archive), tmp_path / "data", sampling_rates_hz=[100])
    (tmp_path / "no.zip").write_bytes(b"<html>")
    with pytest.raises(DataError, match="not a zip archive"):
        ZipMirror(tmp_path / "no.zip")
    with pytest.raises(DataError, match="there is no file"):
        ZipMirror(tmp_path / "none.zip")


def test_other_data_in_the_folder_are_left_alone(fetch, synthetic_root, tmp_path, server):
    with pytest.raises(ConfigError, match="simulated ECGs"):
        fetch(synthetic_root)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / SUMS).write_text("another version")
    with pytest.raises(ConfigError, match="maybe another version"):
        fetch(tmp_path / "other")
    assert list_files(tmp_path / "other") == {SUMS}


def test_a_source_without_the_records_is_an_error(fetch):
    with pytest.raises(DataError, match="lists nothing in records500/"):
        fetch(sampling_rates_hz=[100, 500])


def test_a_disk_that_is_too_small_is_reported_first(fetch, server, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(DataError, match=r"has 0\.00 GB free, 0\.02 GB are needed"):
        fetch()
    assert set(server.requested) == {SUMS}


def test_wrong_arguments_are_errors(fetch):
    with pytest.raises(ConfigError, match=r"connections must be in 1\.\.16, got 17"):
        fetch(n_connections=17)
    with pytest.raises(ConfigError, match="source must be physionet or bucket or an address"):
        WebMirror("ptbxl.zip")


@pytest.mark.slow
def test_the_command_fetches_builds_the_store_and_prints_the_license(server, tmp_path):
    done = ecgcls(tmp_path, f"source={server.url}", "root=data", command="download")
    assert done.returncode == 0, done.stderr
    assert "122 files" in done.stdout and "60 records" in done.stdout
    assert "Creative Commons Attribution 4.0" in done.stdout and "10.13026/kfzx-aw45" in done.stdout
    assert "the mirror's SHA256SUMS.txt" in done.stdout
    for wrong, message in (
        ("connections=99", "connections must be in 1..16"),
        ("root=", "root= is empty, expected a path"),
        ("sums_sha256=12", "sums_sha256 must be 64 hexadecimal digits, got '12'"),
    ):
        again = ecgcls(tmp_path, "source=http://127.0.0.1:9/", "root=data", wrong, command="download")
        assert again.returncode == 1 and again.stderr.count("\n") == 1 and message in again.stderr


def test_a_kill_leaves_whole_files_and_the_next_download_resumes(server, mirror, tmp_path):
    root = tmp_path / "data"
    command = [sys.executable, "-m", "ecgcls.download", f"source={server.url}", f"root={root}", "connections=2"]
    server.delay_s = 0.05
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until = time.monotonic() + 60
    while len(list(root.rglob("*.dat"))) < 10 and time.monotonic() < wait_until:
        threading.Event().wait(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    whole = list_files(root)
    assert 10 <= len(whole) < 123
    assert all((root / name).read_bytes() == (mirror / name).read_bytes() for name in whole)
    left = root / "records100" / "00000" / ".00001_lr.dat.1.tmp"  # by a kill while a file is written
    foreign = root / "records100" / "00000" / ".notes.1.tmp"
    for path in (left, foreign):
        path.write_bytes(b"half")
    server.delay_s = 0
    server.requested.clear()
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == 0
    assert set(server.requested) == {SUMS} | (list_files(mirror) - whole - {"README.txt"})
    assert list(root.rglob(".*.tmp")) == [foreign]


@pytest.mark.slow
def test_two_interruptions_at_once_end_in_one_line(server, tmp_path):
    command = [sys.executable, "-m", "ecgcls.download", f"source={server.url}", f"root={tmp_path}", "connections=2"]
    server.delay_s = 0.4  # so that it is not over before the signals come
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until = time.monotonic() + 60
    while not list(tmp_path.rglob("*.dat")) and time.monotonic() < wait_until:
        threading.Event().wait(0.02)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        threading.Event().wait(0.005)
    _, told = process.communicate(timeout=20)
    assert (process.returncode, told.splitlines()[1:]) == (130, ["interrupted"])
