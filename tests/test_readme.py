"""What the README says to type."""

import re
import shlex

import pytest

from ecgcls.data.synthetic import write_synthetic
from tests.commands import REPOSITORY, succeed
from tests.documents import NEEDS_NO_RUN, copy_records, read_commands, train_quickly, use_finished_run
from tests.mirrors import write_mirror, write_zip

README = REPOSITORY / "README.md"


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """The zip of a data set of 60 simulated ECGs at both sampling rates."""
    folder = tmp_path_factory.mktemp("archive")
    for rate in (100, 500):
        write_synthetic(folder / "ecgs", n_records=60, seed=0, sampling_rate_hz=rate)
    return write_zip(folder / "ptb-xl.zip", write_mirror(folder / "mirror", folder / "ecgs"))


@pytest.mark.parametrize("command", [line for line in read_commands(README) if line.startswith(NEEDS_NO_RUN[1])])
def test_every_download_of_the_readme_works_out_of_a_zip(archive, tmp_path, command):
    typed = [argument for argument in shlex.split(command)[3:] if not argument.startswith(("archive=", "source="))]
    done = succeed(tmp_path, *typed, f"archive={archive}", command="download")
    assert done.stdout.strip().splitlines()[-1] == "data/ptbxl"
    found = {path.parts[0] for path in (file.relative_to(tmp_path / "data/ptbxl") for file in tmp_path.rglob("*.hea"))}
    assert found == {"records100"} | ({"records500"} if "sampling_rate_hz=both" in typed else set())


@pytest.mark.parametrize("command", [line for line in read_commands(README) if not line.startswith(NEEDS_NO_RUN)])
def test_every_command_of_the_readme_uses_a_finished_run(work, sweep, synthetic_root, tmp_path, command):
    copy_records(synthetic_root, tmp_path)
    stands_for = {"input": str(tmp_path), "data.root": str(synthetic_root), "a": "sweep/cnn1d", "b": "sweep/cnn2d"}
    use_finished_run(work, command, stands_for=stands_for)


def test_the_python_lines_of_the_readme_work(configuration, synthetic_root, capsys):
    text = README.read_text()
    (block,) = [code for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if "load_run" in code]
    header = sorted(synthetic_root.glob("records100/*/*.hea"))[0]
    block = block.replace("my/ecg", str(header.with_suffix("")))
    exec(block.replace("outputs/default/cnn1d/fold_0", str(configuration / "fold_0")))
    assert "'NORM': 0." in capsys.readouterr().out


def _mark_slow(command):
    """Mark what trains more than one run, or in more than one process."""
    is_slow = " -m " in command.partition("ecgcls.run")[2] or "devices=" in command
    return pytest.param(command, marks=pytest.mark.slow) if is_slow else command


@pytest.mark.parametrize(
    "command", [_mark_slow(line) for line in read_commands(README) if line.startswith("python -m ecgcls.run")]
)
def test_every_command_of_the_readme_works(work, command):
    instead = {"hydra.sweeper.n_trials": "2"} if "n_trials" in command else {}
    train_quickly(work, command, experiment=f"readme-{abs(hash(command))}", instead=instead)
