"""The container's steps, read out of the Dockerfile: what it copies, what it installs, what it starts."""

import fnmatch
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import tomllib
import urllib.request
from importlib.metadata import packages_distributions
from pathlib import Path

import grimp
import numpy as np
import pandas as pd
import pytest

from tests.bundles.hand_made import N_SAMPLES, write_bundle
from tests.commands import REPOSITORY

REQUIREMENTS = REPOSITORY / "docker" / "requirements.txt"
# What is found by its name, as text: the reader of device files, FastAPI's reader of uploads, the files of /docs.
BY_NAME = {
    "ecgdatakit": "ecgdatakit[dicom]",
    "python_multipart": "python-multipart",
    "fastapi_offline": "fastapi-offline",
}
STARTS = (
    "ecgcls.__main__", "ecgcls.command.start", "ecgcls.outputs", "ecgcls.data.archives", "ecgcls.data.record_files",
    "ecgcls.jobs.load_bundle", "ecgcls.jobs.apply", "ecgcls.jobs.prediction_files", "ecgcls.jobs.tested",
    "ecgcls.jobs.external", "ecgcls.jobs.external_notes", "ecgcls.jobs.score_table", "ecgcls.serving.app",
    "ecgcls.serving.server",
)  # fmt: skip


def read_stages():
    """Return the stages of the Dockerfile: of each its instructions, as keyword and text."""
    text = re.sub(r"^#.*\n", "", (REPOSITORY / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    steps = [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]
    starts = [number for number, (keyword, _) in enumerate(steps) if keyword == "FROM"]
    return [steps[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


def list_imported(starts):
    """Return the packages that modules import, however indirectly, but for what contracts leave to nets and runs."""
    graph = grimp.build_graph("ecgcls", include_external_packages=True, cache_dir=None)
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (own,) = [each for each in contracts if each["name"] == "What reads a bundle does without torch and Lightning"]
    for left_out in own["ignore_imports"]:
        importer, imported = left_out.split(" -> ")
        for name in fnmatch.filter(graph.find_modules_directly_imported_by(importer), imported):
            graph.remove_import(importer=importer, imported=name)
    todo, found = list(starts), set()
    while todo:
        new = set() if not todo[-1].startswith("ecgcls") else graph.find_modules_directly_imported_by(todo[-1]) - found
        todo.pop()
        found |= new
        todo += new
    # ecgcls.command.processes: those of a training over several devices
    return {name for name in found if not name.startswith("ecgcls")} - sys.stdlib_module_names - {"torch"}


def test_the_container_has_what_reads_a_bundle_and_nothing_else():
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    distributions = packages_distributions()
    needed = {distributions[name][0].lower() for name in list_imported(STARTS) - {"pydicom"}}  # of ecgdatakit[dicom]
    assert {line.lower() for line in lines} == needed | {*BY_NAME.values()}
    pinned = {line.partition("==")[0].lower() for line in (REPOSITORY / "constraints.txt").read_text().splitlines()}
    assert {line.partition("[")[0].lower() for line in lines} <= pinned
    sources = "".join(path.read_text() for path in (REPOSITORY / "ecgcls").rglob("*.py"))
    assert re.search(r"import ecgdatakit|from ecgdatakit|\"ecgdatakit", sources) and "UploadFile" in sources


def test_the_container_runs_as_nobody_and_serves_what_is_mounted():
    build, run = read_stages()
    assert run[0][1] == "python:3.11-slim" and build[0][1] == f"{run[0][1]} AS build"
    keys = dict(run)
    assert keys["USER"].isdecimal() and int(keys["USER"]) > 0
    assert not any("torch" in text.lower() for _, text in run)
    command = json.loads(keys["ENTRYPOINT"]) + json.loads(keys["CMD"])
    assert command == ["ecgcls", "serve", "bundle=/bundle", "host=0.0.0.0", f"port={keys['EXPOSE']}"]
    assert f"127.0.0.1:{keys['EXPOSE']}/healthz" in keys["HEALTHCHECK"]
    kept = [line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line[0] == "!"]
    copied = [each for keyword, text in build + run if keyword == "COPY" and "--from" not in text
              for each in shlex.split(text)[:-1]]  # fmt: skip
    assert sorted(kept) == sorted(copied)
    assert all((REPOSITORY / name).exists() for name in copied)


@pytest.mark.slow
def test_the_steps_of_the_container_make_a_server_without_torch(tmp_path, write_record):
    """In a bare virtual environment in place of the container, whose folders are folders of `tmp_path`; two minutes."""
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PATH"] = f"{python.parent}{os.pathsep}{environment['PATH']}"
    for stage in read_stages():
        work = tmp_path
        for keyword, text in stage:
            if keyword == "WORKDIR":
                work = tmp_path / text.strip("/")
                work.mkdir(exist_ok=True)
            elif keyword == "COPY" and "--from" not in text:
                *sources, target = shlex.split(text)
                place = tmp_path / target.strip("/") if target.startswith("/") else work / target
                place.mkdir(exist_ok=True)
                for source in sources:
                    whole = REPOSITORY / source
                    subprocess.run(["cp", "-r", f"{whole}/." if whole.is_dir() else str(whole), str(place)], check=True)
            elif keyword == "RUN" and "pip" in text:
                command = re.sub(r"(?<=\s)/(?=wheels|requirements)", f"{tmp_path}/", text)
                subprocess.run(command, shell=True, cwd=work, env=environment, check=True)
            elif keyword == "RUN":
                assert text.startswith("useradd "), text
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(tmp_path / "venv")}))
    assert not any((packages / name).exists() for name in ("torch", "pytorch_lightning", "captum", "plotly"))
    n_bytes = sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())
    assert n_bytes < 8e8  # with torch it is above 1e9
    write_bundle(tmp_path / "bundle")
    samples = np.random.default_rng(0).integers(0, 2000, (N_SAMPLES, 12))  # uV
    write_record(tmp_path / "one", samples)
    done = subprocess.run(
        [python.parent / "ecgcls", "predict", "bundle=bundle", "input=one.hea"],
        env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    (table,) = (tmp_path / "outputs" / "bundles").glob("*/predict/*/predictions.csv")
    expected = 1 / (1 + np.exp(-samples.mean() / 1000))
    assert float(pd.read_csv(table)["y_prob_MI"][0]) == pytest.approx(expected, abs=1e-5)
    start = json.loads(dict(read_stages()[1])["CMD"])
    start = [each.replace("/bundle", f"{tmp_path}/bundle").replace("8765", "0") for each in start]
    server = subprocess.Popen(
        [python.parent / "ecgcls", *start], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        port = re.search(r":(\d+) \(", server.stdout.readline())[1]
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=20).status == 200
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 0
