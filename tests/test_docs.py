"""The documentation: its commands and its Python code work, what it names exists, and the site builds."""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb
from scipy.signal import resample_poly

import ecgcls
from ecgcls.data.signals import LEADS
from ecgcls.data.synthetic import write_synthetic
from tests.commands import REPOSITORY, succeed
from tests.data.challenge_files import write_record
from tests.data.device_files import INDEPENDENT, write_aecg, write_csv, write_muse
from tests.documents import (
    PAGES,
    README,
    copy_records,
    name_command,
    read_blocks,
    read_commands,
    train_quickly,
    use_finished_run,
)
from tests.mirrors import write_mirror, write_zip

DOCS = REPOSITORY / "docs"
ARCHITECTURE, EXTENDING, OWN_DATA = DOCS / "architecture.md", DOCS / "extending.md", DOCS / "own-data.md"
SHIPPING = DOCS / "shipping.md"
_ELSEWHERE = (EXTENDING, OWN_DATA, SHIPPING, DOCS / "clusters.md")  # tested below, and in tests/cluster/
COMMANDS = [
    command
    for command in read_commands(*(page for page in PAGES if page not in _ELSEWHERE))
    if command not in read_commands(README) and "data=table" not in command  # with files of its own, from OWN_DATA
]
DOWNLOADS = [command for command in read_commands(README, *PAGES) if name_command(command) == "download"]
RUNS = [command for command in COMMANDS if name_command(command) == "run"]
OTHERS = [command for command in COMMANDS if name_command(command) not in ("run", "download")]


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "WARNING" not in done.stdout + done.stderr
    pages = [*(tmp_path / "site").rglob("*.html")]
    assert len(pages) > len(PAGES)  # the pages, and the one for "not found"
    fetched = re.compile(
        r"<(?:script|img|link rel=\"(?:stylesheet|preconnect|icon)\")[^>]*(?:src|href)=\"(?:https?:)?//"
    )
    assert not [page for page in pages if fetched.search(page.read_text())]


def _exists(name):
    """Whether a dotted name is a module, or something in one."""
    for n_parts in range(name.count(".") + 1, 0, -1):
        module, rest = name.split(".")[:n_parts], name.split(".")[n_parts:]
        try:
            found = importlib.import_module(".".join(module))
        except ModuleNotFoundError:
            continue
        for part in rest:
            found = getattr(found, part, None)
        return found is not None
    return False


def test_every_module_and_class_that_the_pages_name_exists():
    documents = [README, REPOSITORY / "CONTRIBUTING.md", *PAGES]
    named = {name for page in documents for name in re.findall(r"\becgcls(?:\.[A-Za-z_]\w*)+", page.read_text())}
    assert len(named) > 50
    assert not [name for name in sorted(named) if not _exists(name)]


def test_the_tree_of_the_architecture_is_the_tree():
    (tree,) = [block for block in read_blocks(ARCHITECTURE, "text") if "ecgcls/" in block]
    parents, named = [REPOSITORY], set()
    for line in tree.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        for name in re.match(r"\s*((?:[\w.]+(?:/|\.py)\s*)+)", line)[1].split():
            path = parents[depth] / name
            assert path.exists(), line
            named.add(path)
        parents[depth + 1 :] = [path]
    package = REPOSITORY / "ecgcls"
    rooms = {path.parent for path in package.glob("*/__init__.py")} | {*package.glob("[!_]*.py")}
    assert not rooms - named


def test_the_import_rule_of_the_architecture_is_the_one_that_is_checked():
    quoted = " ".join(line.removeprefix("> ") for line in ARCHITECTURE.read_text().splitlines() if line[:2] == "> ")
    commands, *levels = [re.findall(r"\w+", level) for level in quoted.split("->")]
    assert commands == ["commands"]
    place = {room: number for number, level in enumerate(levels) for room in level}
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"][1:] for contract in contracts if contract["type"] == "layers"]
    rooms = [room for layer in layers for room in re.findall(r"ecgcls\.(\w+)", layer)]
    assert set(rooms) == place.keys() | {"identity"}
    places = [place[room] for room in rooms if room != "identity"]
    assert places == sorted(places)


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """The zip of a data set of 60 simulated ECGs at both sampling rates."""
    folder = tmp_path_factory.mktemp("archive")
    for rate in (100, 500):
        write_synthetic(folder / "ecgs", n_records=60, seed=0, sampling_rate_hz=rate)
    return write_zip(folder / "ptb-xl.zip", write_mirror(folder / "mirror", folder / "ecgs"))


@pytest.mark.parametrize("command", DOWNLOADS)
def test_every_download_works_with_a_zip(archive, tmp_path, command):
    typed = [argument for argument in shlex.split(command)[3:] if not argument.startswith(("archive=", "source="))]
    done = succeed(tmp_path, *typed, f"archive={archive}", command="download")
    assert done.stdout.strip().splitlines()[-1] == "data/ptbxl"
    found = {path.parts[0] for path in (file.relative_to(tmp_path / "data/ptbxl") for file in tmp_path.rglob("*.hea"))}
    assert found == {"records100"} | ({"records500"} if "sampling_rate_hz=both" in typed else set())


@pytest.mark.slow
@pytest.mark.parametrize("command", RUNS)
def test_every_run_works(work, configuration, command):
    instead = {"init": str(configuration / "fold_0")} if " init=" in command else {}
    if " distill=" in command:
        instead["distill"] = str(configuration / "fold_0")
    if "fold=0,1,2,3,4" in command:
        instead["fold"] = "0"
    if "hydra.sweeper.n_trials" in command:
        instead["hydra.sweeper.n_trials"] = "2"
    if "data.n_train" in command:
        instead["data.n_train"] = "20" if "n_train_seed" in command else "20,null"
    if "task=challenge2021" in command:
        instead["task.absent_classes"] = "drop"
    if "task=rhythm" in command:
        instead["data.n_records"] = "200"  # among fewer, validation has no rhythm but the normal one
    train_quickly(work, command, experiment=f"docs-{RUNS.index(command)}", instead=instead)


@pytest.fixture(scope="session")
def theirs(work, configuration):
    """Write a run's test predictions as somebody else might have them."""
    table = pd.read_csv(configuration / "fold_0" / "predictions.csv").query("split == 'test'")
    noise = np.random.default_rng(0).uniform(0, 0.2, len(table))
    changed = table.assign(y_prob_MI=table["y_prob_MI"] * (1 - noise))
    changed.loc[:, ~changed.columns.str.startswith("y_logit_")].to_csv(work / "theirs.csv", index=False)
    np.save(work / "T.npy", table[["y_true_NORM", "y_true_MI"]].to_numpy())
    np.save(work / "P.npy", table[["y_prob_NORM", "y_prob_MI"]].to_numpy())
    np.save(work / "WHO.npy", table["patient_id"].to_numpy())


@pytest.mark.slow
@pytest.mark.parametrize("command", OTHERS)
def test_every_other_command_works(work, sweep, configuration, theirs, synthetic_root, tmp_path, command):
    copy_records(synthetic_root, tmp_path)
    instead = {"input": str(tmp_path), "data.root": str(synthetic_root)}
    if "data=challenge" in command:
        for number in range(40):
            write_record(tmp_path / "challenge", f"E{number:05d}", f"#Dx: {164889003 if number % 2 else 426783006}")
        instead["data.root"] = str(tmp_path / "challenge")
    if "variant=" in command:
        instead["variant"] = configuration.name
    if "run_dir=[" in command:
        (other,) = work.glob("outputs/sweep/cnn2d/*/fold_0")
        instead["run_dir"] = f"[{configuration / 'fold_0'},{other}]"
    if "a=default/cnn1d/fold_0" in command:
        instead["a"] = str(configuration / "fold_0")
    else:
        instead |= {"a": "sweep/cnn1d", "b": "sweep/cnn2d"}
    needs_data = name_command(command) == "labels" and "data.root" not in command
    more = ["data=synthetic", "data.n_records=60"] if needs_data else []
    use_finished_run(work, command, instead=instead, more=more)


@pytest.fixture
def own_folder(synthetic_root, tmp_path):
    """A folder of files in four formats and a CSV, as the page about them has it; somebody has to say what some are."""
    table, rows = pd.read_csv(synthetic_root / "ptbxl_database.csv"), []
    for number, row in enumerate(table.itertuples()):
        signal_mv = wfdb.rdrecord(str(synthetic_root / row.filename_lr)).p_signal.T
        kind, name = ("muse", "aecg", "csv", "wfdb")[number % 4], f"H-{row.ecg_id:04d}"
        path = tmp_path / "ecgs" / kind / f"{name}.{ {'csv': 'csv', 'wfdb': 'hea'}.get(kind, 'xml') }"
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "muse":
            rows_of_muse = [LEADS.index(lead) for lead in INDEPENDENT]
            write_muse(path, resample_poly(signal_mv[rows_of_muse], 5, 2, axis=1), INDEPENDENT, 250)
        elif kind == "wfdb":
            for suffix in (".hea", ".dat"):
                shutil.copy(f"{synthetic_root / row.filename_lr}{suffix}", path.parent)
            path = path.with_name(f"{Path(row.filename_lr).name}.hea")
        else:
            {"aecg": write_aecg, "csv": write_csv}[kind](path, signal_mv, LEADS, 100)
        label = "" if number % 20 == 3 else int("NORM" in row.scp_codes)
        rows.append(
            {"file": path.relative_to(tmp_path), "record": name, "patient": f"A-{row.patient_id:.0f}", "af": label}
        )
        rows[-1] |= {"age": row.age, "sex": "FM"[int(row.sex == 0)], "hospital": ("north", "south")[number % 2]}
    pd.DataFrame(rows).to_csv(tmp_path / "ecgs.csv", index=False)
    (tmp_path / "new_ecgs").mkdir()
    backwards_mv = signal_mv[[LEADS.index(lead) for lead in INDEPENDENT], ::-1]  # no ECG that it has learned from
    write_muse(tmp_path / "new_ecgs" / "N-0001.xml", resample_poly(backwards_mv, 5, 2, axis=1), INDEPENDENT, 250)
    return tmp_path


@pytest.mark.slow
def test_a_folder_of_device_files_becomes_a_report_as_the_page_says(own_folder):
    quick = {"run": ["fold=0,1", "model=cnn1d", "trainer.max_epochs=1", "trainer.accelerator=cpu"]}
    quick["interpret"] = ["n_summary=0", "n_scorecard=0"]
    commands = {name_command(command): command for command in read_commands(OWN_DATA)}
    assert [*commands] == ["labels", "run", "evaluate", "interpret", "report", "predict"]
    for name, command in commands.items():
        more = quick.get(name, [])
        given = {setting.partition("=")[0] for setting in more}
        typed = [each for each in shlex.split(command)[3:] if each.partition("=")[0] not in given]
        done = succeed(own_folder, *typed, *more, command=name)
    assert "learned from" not in done.stdout and "N-0001" in done.stdout  # predict, of a new ECG
    tested = [pd.read_csv(path) for path in own_folder.glob("outputs/af/cnn1d/*/fold_*/predictions.csv")]
    assert len(tested) == 2 and tested[0]["ecg_id"].str.startswith("H-").all()
    assert "cnn1d" in (own_folder / "outputs/af/report.html").read_text()


def run_blocks(page, folder, places):
    """Run the Python code of a page in a folder, and return what it defines.

    A block that begins with a path, as ``# mylab/nets.py``, is written there instead.
    """
    defined = {}
    for language in ("yaml", "python"):
        for block in read_blocks(page, language):
            named = re.match(r"# (\S+\.(?:py|yaml))", block)
            if named:
                path = folder / named[1]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block)
                continue
            for shown, place in places.items():
                block = block.replace(shown, str(place))
            exec(compile(block, str(page), "exec"), defined)
    return defined


@pytest.fixture
def places(configuration, synthetic_root):
    """Where the tests have what the pages name."""
    return {
        "outputs/default/cnn1d/data=synthetic/fold_0": configuration / "fold_0",
        "outputs/default/cnn1d/fold_0": configuration / "fold_0",
        "data/synthetic/1000_records_seed_0": synthetic_root,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page not in (EXTENDING, SHIPPING) and read_blocks(page, "python")],
    ids=lambda page: page.stem,
)
def test_the_python_code_of_the_pages_works(page, places, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run_blocks(page, tmp_path, places)
    assert capsys.readouterr().out


@pytest.mark.slow
def test_the_weights_without_this_package_predict_what_load_run_predicts(places, tmp_path, capsys):
    defined = run_blocks(DOCS / "runs.md", tmp_path, places)
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    run = ecgcls.load_run(defined["run"])
    prediction = run.predict(defined["signal_mv"][0].numpy(), sampling_rate_hz=100, lead_names=run.lead_names)
    assert {name: float(y_prob) for name, y_prob, _ in shown} == pytest.approx(prediction.y_prob, abs=1e-5)
    assert {name: y_pred == "True" for name, _, y_pred in shown} == prediction.y_pred


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_a_run_becomes_a_service_as_the_page_says(configuration, synthetic_root, tmp_path, monkeypatch, capsys):
    shutil.copytree(configuration, tmp_path / "outputs/default/cnn1d" / configuration.name)
    for folder in (tmp_path / "ecgs", tmp_path):
        folder.mkdir(exist_ok=True)
        copy_records(synthetic_root, folder)
    for suffix in (".hea", ".dat"):
        text = (tmp_path / f"00001_lr{suffix}").read_bytes().replace(b"00001_lr", b"ecg")
        (tmp_path / f"ecg{suffix}").write_bytes(text)
    shutil.make_archive(str(tmp_path / "ecgs"), "zip", tmp_path / "ecgs")
    lines = [line.partition("  #")[0].strip() for block in read_blocks(SHIPPING, "bash") for line in block.splitlines()]
    *before, serve = [line for line in lines if line.startswith("python -m ecgcls.")]
    assert name_command(serve) == "serve"
    assert {name_command(line) for line in before} == {"export", "predict", "evaluate"}
    for line in before:
        typed = [each.replace("/data/ptbxl", str(synthetic_root)) for each in shlex.split(line)[3:]]
        store = [f"data.store_dir={tmp_path / 'store'}"] if name_command(line) == "evaluate" else []
        succeed(tmp_path, *typed, *store, command=name_command(line))
    command = [sys.executable, "-m", "ecgcls.serve", *shlex.split(serve)[3:], "port=0"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            port = re.search(r":(\d+) \(", server.stdout.readline())[1]
            asked = [line.replace("8765", port) for line in lines if line.startswith("curl ")]
            answers = [subprocess.run(shlex.split(each), cwd=tmp_path, capture_output=True) for each in asked]
        finally:
            server.terminate()
    assert [answer.returncode for answer in answers] == [0] * 4
    health, example, record, *batch = [json.loads(line) for answer in answers for line in answer.stdout.splitlines()]
    assert health["status"] == "ok" and len(batch) == 2 and all(line["answer"] for line in batch)
    expected = json.loads((tmp_path / "bundle" / "example_expected.json").read_text())["probabilities"]
    of_server = {one["name"]: one["probability"] for one in example["classes"]}
    assert of_server == pytest.approx(expected, abs=1e-4)
    assert record["error_rate"] == 0.1
    monkeypatch.chdir(tmp_path)
    assert run_blocks(SHIPPING, tmp_path, {})["prediction"].y_prob == pytest.approx(expected, abs=1e-4)
    assert capsys.readouterr().out


@pytest.fixture(scope="module")
def extension(tmp_path_factory):
    """The package and the data sets of the page about extending."""
    folder = tmp_path_factory.mktemp("extension")
    before = Path.cwd()
    os.chdir(folder)
    try:
        run_blocks(EXTENDING, folder, {})
    finally:
        os.chdir(before)
    for package in ("mylab", "mylab/conf"):
        (folder / package / "__init__.py").touch()
    shutil.copytree(folder / "data" / "mine" / "records100", folder / "data" / "ward")
    records = np.arange(1, 121)
    table = pd.DataFrame({"record": records, "patient": records // 2, "AF": (records % 3 == 0).astype(int)})
    table.to_csv(folder / "data" / "ward" / "recordings.csv", index=False)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("command", read_commands(EXTENDING))
def test_what_the_page_about_extending_adds_works(extension, command):
    if "data.root" not in command and "data=ward" not in command:
        train_quickly(extension, command, experiment="added")
        return
    quick = ["trainer.max_epochs=1", "trainer.accelerator=cpu"] if name_command(command) == "run" else []
    done = succeed(extension, *shlex.split(command)[3:], *quick, command=name_command(command))
    assert "AFIB" in done.stdout
