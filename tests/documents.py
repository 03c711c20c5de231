"""The commands and the Python code of the README and of docs/, and how they are made quick enough to run."""

import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.commands import QUICK, REPOSITORY, succeed

README = REPOSITORY / "README.md"
PAGES = sorted((REPOSITORY / "docs").rglob("*.md"))
_IN_CLUSTER = re.compile(r"hydra/launcher=(slurm|ray)")  # tests/cluster/ runs these
_NAMES_NO_RUN = ("ecgcls.compare", "ecgcls.labels")


def read_blocks(document: Path, language: str) -> list[str]:
    """Return the code blocks of a Markdown file that are in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def read_commands(*documents: Path) -> list[str]:
    """Return every command of this package in some Markdown files, each once, as shown but for the comment."""
    blocks = [block for document in documents for block in read_blocks(document, "bash")]
    lines = dict.fromkeys(line.partition("  #")[0].strip() for block in blocks for line in block.splitlines())
    return [line for line in lines if line.startswith("python -m ecgcls.") and not _IN_CLUSTER.search(line)]


def name_command(command: str) -> str:
    """Return which command of this package a command line runs, as ``evaluate``."""
    return command.split()[2].removeprefix("ecgcls.")


def train_quickly(folder: Path, command: str, *, experiment: str, instead: Mapping[str, str] | None = None) -> str:
    """Run a command that trains, on few simulated ECGs and for one epoch; return what it prints.

    Parameters
    ----------
    folder
        The current directory of the command.
    command
        As shown in the document.
    experiment
        The experiment of its runs.
    instead
        Other values for settings of the command, by key.
    """
    typed = shlex.split(command)[3:]
    if "--help" in typed or "--cfg" in typed:
        return succeed(folder, *typed).stdout
    dropped = {"data.root", "data", "trainer.max_epochs", *(instead or {})}
    arguments = [argument for argument in typed if argument.partition("=")[0] not in dropped]
    given = {argument.partition("=")[0] for argument in arguments}
    settings = {setting.partition("=")[0]: setting.partition("=")[2] for setting in QUICK} | dict(instead or {})
    quick = [f"{key}={value}" for key, value in settings.items() if key not in given]
    done = succeed(folder, *arguments, *quick, f"experiment={experiment}")
    assert f"outputs/{experiment}" in done.stdout
    return done.stdout


def use_finished_run(folder: Path, command: str, *, instead: Mapping[str, str], more: Sequence[str] = ()) -> Path:
    """Run a command that reads finished runs, on the experiment 'sweep'; return where its results went.

    Parameters
    ----------
    folder
        The current directory of the command.
    command
        As shown in the document.
    instead
        Other values for settings that the command has, by key.
    more
        Further settings.
    """
    _, _, module, *typed = shlex.split(command)
    named = {argument.partition("=")[0] for argument in typed}
    if module not in _NAMES_NO_RUN and not named & {"predictions", "y_true"}:
        named.add("experiment")
    instead = {"experiment": "sweep", **instead}
    arguments = [argument for argument in typed if argument.partition("=")[0] not in instead]
    replaced = [f"{key}={value}" for key, value in instead.items() if key in named]
    few = ["n_summary=2", "n_scorecard=2"] if module.endswith("interpret") else []
    done = succeed(folder, *arguments, *replaced, *few, *more, command=name_command(command))
    output = folder / re.sub(r" \([\d.]+ MB\)$", "", done.stdout.strip().splitlines()[-1])
    assert output.exists()
    shutil.rmtree(folder / "outputs" / "sweep" / "ensemble", ignore_errors=True)  # other tests count its configurations
    return output


def copy_records(root: Path, folder: Path) -> None:
    """Copy two records of a data set, to be predicted."""
    for name in ("00001", "00002"):
        for file in root.glob(f"records100/*/{name}*"):
            shutil.copy(file, folder)
