"""The commands and the Python lines of the README and of docs/, and how they are made quick enough to run."""

import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.commands import QUICK, REPOSITORY, succeed

NEEDS_NO_RUN = ("python -m ecgcls.run", "python -m ecgcls.download")
_IN_CLUSTER = re.compile(r"hydra/launcher=(slurm|ray)")  # tests/cluster/ has such
NAMES_NO_RUN = ("ecgcls.compare", "ecgcls.labels")


def read_blocks(document: Path, language: str) -> list[str]:
    """Return the code blocks of a Markdown file that are in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", document.read_text(), flags=re.DOTALL | re.MULTILINE)


def read_commands(document: Path) -> list[str]:
    """Return every command of this package in a Markdown file, as typed there but for the comment."""
    lines = [line.partition("  #")[0].strip() for block in read_blocks(document, "bash") for line in block.splitlines()]
    return [line for line in lines if line.startswith("python -m ecgcls.") and not _IN_CLUSTER.search(line)]


def list_documents() -> Iterator[Path]:
    """Yield the README and the pages of the documentation."""
    yield REPOSITORY / "README.md"
    yield from sorted((REPOSITORY / "docs").rglob("*.md"))


def train_quickly(folder: Path, command: str, *, experiment: str, instead: Mapping[str, str] | None = None) -> str:
    """Run a command that trains on few simulated ECGs and for one epoch; return what it prints.

    Parameters
    ----------
    folder
        Where it is typed.
    command
        As it stands in the document.
    experiment
        The experiment that its runs go to.
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


def use_finished_run(folder: Path, command: str, *, stands_for: Mapping[str, str], more: Sequence[str] = ()) -> Path:
    """Run a command that reads finished runs, on the experiment 'sweep'; return where its results went.

    Parameters
    ----------
    folder
        Where it is typed.
    command
        As it stands in the document.
    stands_for
        What to type for settings of the command, by key.
    more
        Further settings.
    """
    _, _, module, *typed = shlex.split(command)
    named = {argument.partition("=")[0] for argument in typed}
    if module not in NAMES_NO_RUN and not named & {"predictions", "y_true"}:
        named.add("experiment")
    stands_for = {"experiment": "sweep", **stands_for}
    arguments = [argument for argument in typed if argument.partition("=")[0] not in stands_for]
    replaced = [f"{key}={value}" for key, value in stands_for.items() if key in named]
    few = ["n_summary=2", "n_scorecard=2"] if module.endswith("interpret") else []
    done = succeed(folder, *arguments, *replaced, *few, *more, command=module.removeprefix("ecgcls."))
    output = folder / re.sub(r" \([\d.]+ MB\)$", "", done.stdout.strip().splitlines()[-1])
    assert output.exists()
    return output


def copy_records(root: Path, folder: Path) -> None:
    """Copy two records of a data set, to be predicted."""
    for name in ("00001", "00002"):
        for file in root.glob(f"records100/*/{name}*"):
            shutil.copy(file, folder)
