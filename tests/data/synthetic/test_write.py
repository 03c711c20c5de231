import json
import multiprocessing
import sys
from pathlib import Path

import pytest

from ecgcls.data.synthetic import write_synthetic
from ecgcls.errors import ConfigError, DataError

TEXTS = ["README.txt", "SYNTHETIC.json", "ptbxl_database.csv", "scp_statements.csv"]


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(root, tmp_path):
    for seed in (0, 1):
        write_synthetic(tmp_path / f"{seed}", n_records=60, seed=seed, sampling_rate_hz=100, show_progress=False)
    first, second = files(tmp_path / "0"), files(tmp_path / "1")
    assert first == {name: data for name, data in files(root).items() if not name.startswith("records500")}
    same = [name for name in first if name.endswith(".dat") and first[name] == second.get(name)]
    assert not same
    assert first["ptbxl_database.csv"] != second["ptbxl_database.csv"]


def test_nothing_is_written_twice(root):
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    write_synthetic(root, n_records=60, seed=0, sampling_rate_hz=100, show_progress=False)
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before


def test_a_second_rate_is_added_to_the_first(tmp_path, root):
    write_synthetic(tmp_path / "a", n_records=60, seed=0, sampling_rate_hz=500, show_progress=False)
    assert not (tmp_path / "a" / "records100").exists()
    write_synthetic(tmp_path / "a", n_records=60, seed=0, sampling_rate_hz=100, show_progress=False)
    assert files(tmp_path / "a") == files(root)


@pytest.mark.parametrize("n_records", [0, 7, 49, 21_800])
def test_too_few_or_too_many_records(tmp_path, n_records):
    with pytest.raises(ConfigError, match=rf"^data\.n_records must be in 50\.\.21799, got {n_records}$"):
        write_synthetic(tmp_path / "a", n_records=n_records, seed=0, sampling_rate_hz=100)
    assert not list(tmp_path.iterdir())


def test_wrong_rate_and_seed(tmp_path):
    with pytest.raises(ConfigError, match="must be 100 or 500, got 250"):
        write_synthetic(tmp_path / "a", n_records=50, seed=0, sampling_rate_hz=250)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"seed .* 0 or more, got -1"):
        write_synthetic(tmp_path / "a", n_records=50, seed=-1, sampling_rate_hz=100)


@pytest.mark.parametrize("name", ["ptbxl_database.csv", "scp_statements.csv", "records100/x", "records500/x"])
def test_a_real_data_set_is_never_touched(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("somebody's")
    before = files(tmp_path)
    with pytest.raises(ConfigError, match=r"no SYNTHETIC\.json.*choose another folder") as error:
        write_synthetic(tmp_path, n_records=50, seed=0, sampling_rate_hz=100, show_progress=False)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    assert files(tmp_path) == before


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"n_records": 61}, "n_records=61"), ({"seed": 5}, "seed=5"), ({}, "generator_version=1")],
)
def test_other_synthetic_ecgs_are_never_overwritten(root, tmp_path, change, expected):
    before = files(root)
    wanted = {"n_records": 60, "seed": 0} | change
    target = root
    if not change:  # the files of another version of the generator
        target = tmp_path
        note = {"n_records": 60, "seed": 0, "generator_version": 0}
        (tmp_path / "SYNTHETIC.json").write_text(json.dumps(note))
    with pytest.raises(ConfigError, match=rf"n_records=60, seed=0.*expected .*{expected}.*delete"):
        write_synthetic(target, sampling_rate_hz=100, show_progress=False, **wanted)
    assert files(root) == before


def test_a_damaged_note_and_a_file_in_the_way(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "SYNTHETIC.json").write_text('{"n_rec')
    with pytest.raises(ConfigError, match="something unreadable"):
        write_synthetic(tmp_path / "a", n_records=50, seed=0, sampling_rate_hz=100)
    (tmp_path / "b").write_text("")
    with pytest.raises(ConfigError, match="is a file, expected a folder"):
        write_synthetic(tmp_path / "b", n_records=50, seed=0, sampling_rate_hz=100)


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    written = []
    write_bytes = Path.write_bytes

    def until_full(path: Path, data: bytes) -> int:
        if path.suffix == ".dat":
            written.append(path)
            if len(written) == 20:
                raise OSError(28, "No space left on device", str(path))
        return write_bytes(path, data)

    monkeypatch.setattr(Path, "write_bytes", until_full)
    with pytest.raises(DataError, match=r"No space left on device; make room") as error:
        write_synthetic(tmp_path / "a", n_records=50, seed=0, sampling_rate_hz=100, show_progress=False)
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == TEXTS
    monkeypatch.undo()
    write_synthetic(tmp_path / "a", n_records=50, seed=0, sampling_rate_hz=100, show_progress=False)
    assert len(list((tmp_path / "a" / "records100").rglob("*.dat"))) == 50


def test_leftovers_of_a_killed_process_are_removed(tmp_path, root):
    left = tmp_path / "a" / ".records500.tmp" / "00000"
    left.mkdir(parents=True)
    (left / "00001_hr.dat").write_bytes(b"half")
    (tmp_path / "a" / ".ptbxl_database.csv.tmp").write_text("half")
    write_synthetic(tmp_path / "a", n_records=60, seed=0, sampling_rate_hz=100, show_progress=False)
    assert not [p for p in (tmp_path / "a").iterdir() if p.name.startswith(".")]
    assert files(tmp_path / "a") == {k: v for k, v in files(root).items() if not k.startswith("records500")}


def test_two_processes_at_once_write_one_data_set(tmp_path, root):
    context = multiprocessing.get_context("spawn")
    wanted = {"n_records": 60, "seed": 0, "sampling_rate_hz": 100, "show_progress": False}
    processes = [context.Process(target=write_synthetic, args=(tmp_path / "a",), kwargs=wanted) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert files(tmp_path / "a") == {k: v for k, v in files(root).items() if not k.startswith("records500")}


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize("show_progress", [True, False])
def test_progress_is_drawn_in_a_terminal_when_wanted(tmp_path, capsys, monkeypatch, is_terminal, show_progress):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    write_synthetic(tmp_path / "a", n_records=50, seed=0, sampling_rate_hz=100, show_progress=show_progress)
    assert ("Writing synthetic ECGs" in capsys.readouterr().err) == (is_terminal and show_progress)
