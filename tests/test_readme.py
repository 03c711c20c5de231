"""What the README says to type."""

import re
import shlex
import shutil

import pytest

from ecgcls.data.synthetic import write_synthetic
from tests.commands import QUICK, REPOSITORY, succeed
from tests.mirrors import write_mirror, write_zip


def readme_commands():
    """Find every command of the README, as typed there."""
    text = (REPOSITORY / "README.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("python -m ecgcls.")]


_NEED_NO_RUN = ("python -m ecgcls.run", "python -m ecgcls.download")


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """The zip of a data set of 60 simulated ECGs at both sampling rates."""
    folder = tmp_path_factory.mktemp("archive")
    for rate in (100, 500):
        write_synthetic(folder / "ecgs", n_records=60, seed=0, sampling_rate_hz=rate)
    return write_zip(folder / "ptb-xl.zip", write_mirror(folder / "mirror", folder / "ecgs"))


@pytest.mark.parametrize("command", [line for line in readme_commands() if line.startswith(_NEED_NO_RUN[1])])
def test_every_download_of_the_readme_works_out_of_a_zip(archive, tmp_path, command):
    typed = [argument for argument in shlex.split(command)[3:] if not argument.startswith(("archive=", "source="))]
    done = succeed(tmp_path, *typed, f"archive={archive}", command="download")
    assert done.stdout.strip().splitlines()[-1] == "data/ptbxl"
    found = {path.parts[0] for path in (file.relative_to(tmp_path / "data/ptbxl") for file in tmp_path.rglob("*.hea"))}
    assert found == {"records100"} | ({"records500"} if "sampling_rate_hz=both" in typed else set())


@pytest.mark.parametrize("command", [line for line in readme_commands() if not line.startswith(_NEED_NO_RUN)])
def test_every_command_of_the_readme_uses_a_finished_run(work, sweep, synthetic_root, tmp_path, command):
    _, _, module, *typed = shlex.split(command)
    for name in ("00001", "00002"):
        for file in synthetic_root.glob(f"records100/*/{name}*"):
            shutil.copy(file, tmp_path)
    stands_for = {"experiment": "sweep", "input": str(tmp_path), "data.root": str(synthetic_root)}
    stands_for |= {"a": "sweep/cnn1d", "b": "sweep/cnn2d"}
    of_run = set() if module in ("ecgcls.compare", "ecgcls.labels") else {"experiment"}
    named = {argument.partition("=")[0] for argument in typed} | of_run
    arguments = [argument for argument in typed if argument.partition("=")[0] not in stands_for]
    replaced = [f"{key}={value}" for key, value in stands_for.items() if key in named]
    few = ["n_summary=2", "n_scorecard=2"] if module.endswith("interpret") else []
    done = succeed(work, *arguments, *replaced, *few, command=module.removeprefix("ecgcls."))
    output = re.sub(r" \([\d.]+ MB\)$", "", done.stdout.strip().splitlines()[-1])
    assert (work / output).exists()


def test_the_python_lines_of_the_readme_work(configuration, synthetic_root, capsys):
    text = (REPOSITORY / "README.md").read_text()
    (block,) = [code for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if "load_run" in code]
    header = sorted(synthetic_root.glob("records100/*/*.hea"))[0]
    block = block.replace("my/ecg", str(header.with_suffix("")))
    exec(block.replace("outputs/default/cnn1d/fold_0", str(configuration / "fold_0")))
    assert "'NORM': 0." in capsys.readouterr().out


def _mark_sweep(command):
    return pytest.param(command, marks=pytest.mark.slow) if " -m " in command.partition("ecgcls.run")[2] else command


@pytest.mark.parametrize(
    "command", [_mark_sweep(line) for line in readme_commands() if line.startswith("python -m ecgcls.run")]
)
def test_every_command_of_the_readme_works(work, command):
    typed = shlex.split(command)[3:]
    arguments = [argument for argument in typed if not argument.startswith(("data.root=", "data=", "trainer.max_ep"))]
    if "--help" in typed or "--cfg" in typed:
        succeed(work, *typed)
        return
    # The same command on few simulated ECGs and for one epoch.
    quick = [setting for setting in QUICK if setting.partition("=")[0] not in {a.partition("=")[0] for a in arguments}]
    done = succeed(work, *arguments, *quick, f"experiment=readme-{abs(hash(command))}")
    assert "outputs/readme-" in done.stdout
