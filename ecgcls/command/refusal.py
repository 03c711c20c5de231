"""How a command refuses: one line on standard error and exit code 1.

``HYDRA_FULL_ERROR=1`` shows the whole traceback instead.
"""

import errno
import os
import re
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import NoReturn, cast

import hydra
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ecgcls.command.arguments import quote
from ecgcls.command.hints import explain_choice, explain_key
from ecgcls.command.interruption import is_disk_full
from ecgcls.config import CONF_DIR
from ecgcls.errors import ConfigError, DataError
from ecgcls.identity import flatten

RUN = "config"
"""The YAML file of ``python -m ecgcls.run``, the command whose configuration is composed of all groups."""
_EXPECTED = (ConfigError, DataError, HydraException, OmegaConfBaseException, ConnectionError, BrokenProcessPool)
_EXTRAS = {"submitit_slurm": "slurm", "hydra_ray_launcher": "ray", "sweeper/optuna": "search"}  # of pyproject.toml
_NO_TRIAL = "No trials are completed yet"  # Optuna's words
_NUL = "embedded null"  # Python's words: byte, or character
_NUMBER_OF_GROUP = "Config group override must be"  # Hydra's words for folds=7
_SEVERAL_MODES = "Only one of --run, --multirun"  # ... for --multirun --cfg job


def is_expected(error: Exception) -> bool:
    """Whether an error is reported in one line; any other is a fault of the program and shows its traceback."""
    if isinstance(error, BrokenPipeError):  # nobody is there to read a refusal
        return False
    is_known = isinstance(error, _EXPECTED) or is_disk_full(error) or _is_of_file(error) or _is_from_slurm(error)
    hydras = isinstance(error, ValueError) and any(words in str(error) for words in (_NUMBER_OF_GROUP, _SEVERAL_MODES))
    is_worded = _NO_TRIAL in str(error) or hydras
    return is_known or is_worded or _find_missing_extra(str(error)) is not None


def explain(error: BaseException, config_name: str = RUN) -> str:
    """Put an error into one line: what, where, expected, got, what to do."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ConfigError | DataError):
            return " ".join(str(cause).split())
        cause = cause.__cause__
    if isinstance(error, OSError) and is_disk_full(error):
        return (
            f"{error.filename or 'a file'}: cannot be written ({error.strerror}); the file that was there before is "
            "intact. Free some space and run the same command again to resume"
        )
    if isinstance(error, ConnectionError) and "Ray" in str(error):
        message = f"{str(error)[0].lower()}{str(error)[1:]}"
        return (
            f"hydra.launcher.ray.init.address: {message}; is a cluster running there, and does it need a token "
            "(RAY_AUTH_MODE=token)?"
        )
    if _is_of_file(error):
        return _explain_file(error)
    if isinstance(error, BrokenProcessPool):
        return (
            "a process of the sweep was killed (out of memory?); hydra.launcher.n_jobs=1 needs the least, and the same "
            "command resumes from the last epochs"
        )
    if _is_from_slurm(error):
        return f"hydra/launcher=slurm: {'; '.join(_split(error))}"
    if _NO_TRIAL in str(error):
        return "no trial of the search finished; the reasons are above"
    if _NUMBER_OF_GROUP in str(error):
        return "a group's choice is a name, as in folds=cv5, not a number (fold=0 is the fold)"
    if _SEVERAL_MODES in str(error):
        return "--multirun, --cfg, --info and --shell-completion: expected one of them; --cfg job shows a single run's"
    return _explain_hydra(error, config_name)


def refuse(error: Exception, config_name: str) -> NoReturn:
    """Print an error in one line, and the choices that it offers one a line, and exit with code 1."""
    print(f"error: {explain(error, config_name)}", file=sys.stderr)
    for choice in getattr(error, "choices", ()):
        print(f"  {choice}", file=sys.stderr)
    sys.exit(1)


def load_yaml(config_name: str) -> DictConfig:
    """Read a command's YAML file."""
    return cast(DictConfig, OmegaConf.load(CONF_DIR / f"{config_name}.yaml"))


def _explain_hydra(error: BaseException, config_name: str) -> str:
    lines = _split(error)
    text = "\n".join(lines)
    if unknown := re.search(r"Could not override '([^']+)'", text):
        key, (known, targets) = unknown[1], _list_keys(config_name)
        if inner := ", ".join(name for name in known if name.startswith(f"{key}.")):
            return f"{key} is set by its parts here: {inner} (all else comes from the run's own configuration)"
        return explain_key(key, known, targets)
    if missing := re.search(r"Could not override '([^']+)'|Could not find group '([^']+)'", text):
        return explain_key(missing[1] or missing[2], *_list_keys(config_name))
    if several := re.search(r"Ambiguous value for argument '([^']+)'", text):
        key = several[1].partition("=")[0]
        return f"{several[1]}: to sweep over several values, add -m; a list is written {key}=[a,b]"
    if extra := _find_missing_extra(text):
        return f"{extra} needs packages that are not installed: pip install 'ecgcls[{extra}]'"
    if choice := re.search(r"Could not find '([^']+)/([^/']+)'", text):
        group, name = choice[1], choice[2]
        options = text.partition("Available options in")[2].partition("Config search path")[0].splitlines()[1:]
        return explain_choice(group, name, options)
    if isinstance(error, OverrideParseException):
        return _explain_unread(error.override, lines)
    return "; ".join(lines[:2])


def _explain_unread(argument: str, lines: Sequence[str]) -> str:
    """Say how to write an argument that Hydra's grammar does not take."""
    key, is_setting, value = argument.partition("=")
    if not is_setting:
        return f"{argument!r}: expected key=value, such as fold=0"
    if lines[0].startswith("Error parsing override"):  # what follows says why
        return f"{argument}: {lines[1]}"
    return f'{argument}: this value cannot be read; a text is quoted twice, "{key}={quote(value)}"'


def _split(error: BaseException) -> list[str]:
    return [line.strip() for line in str(error).splitlines() if line.strip()]


def _find_missing_extra(text: str) -> str | None:
    """Return the extra that would install the plugin that Hydra did not find."""
    missing = re.search(r"(Could not (find|load)|Unknown plugin class)\s[^\n]*", text)
    return next((extra for name, extra in _EXTRAS.items() if name in missing[0]), None) if missing else None


def _is_of_file(error: BaseException) -> bool:
    """Whether the system refuses a file or a folder; an error of it without a name is a fault of the program."""
    return (isinstance(error, OSError) and error.filename is not None) or _NUL in str(error)


def _explain_file(error: BaseException) -> str:
    if not isinstance(error, OSError):
        return "a path has a NUL byte in it, which no file's name can have"
    known = {
        errno.EACCES: "no permission; read or write elsewhere (output=PATH, output_dir=PATH), or have it changed",
        errno.EPERM: "not permitted; read or write elsewhere (output=PATH, output_dir=PATH)",
        errno.EROFS: "the file system is read-only; write elsewhere (output=PATH, output_dir=PATH)",
        errno.ENOENT: "no such file or folder",
        errno.EISDIR: "is a folder, expected a file",
        errno.ENOTDIR: "a part of this path is a file, expected a folder",
        errno.EEXIST: "is in the way; remove it, or name another place",
        errno.ENAMETOOLONG: "the name is too long for this file system; choose a shorter one",
        errno.ELOOP: "symbolic links that lead in a circle",
        errno.EMFILE: "too many open files (ulimit -n)",
    }
    name = " ".join(os.fsdecode(error.filename).split()) if isinstance(error.filename, str | bytes) else error.filename
    return f"{name}: {known.get(error.errno or 0, error.strerror or str(error))}"


def _is_from_slurm(error: BaseException) -> bool:
    """Whether submitit, which talks to SLURM, has raised an error."""
    return type(error).__module__.startswith("submitit") or "indeed on a slurm cluster" in str(error)


def _list_keys(config_name: str) -> tuple[list[str], dict[str, str]]:
    """List every key of a command's configuration, inner nodes too, with the choices of the command line.

    Returned with them is what each node names, by the node's key.
    """
    own = load_yaml(config_name)
    if "defaults" not in own:
        return [key for key in _list_nodes(own)[0] if not key.startswith("hydra")], {}
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        stored = config_name if config_name == RUN else f"ecgcls_{config_name}"
        default = compose(stored)
        typed = [each for each in sys.argv[1:] if re.fullmatch(r"\w+=[A-Za-z]\w*(,.*)?", each)]
        choices = [each.partition(",")[0] for each in typed if each.partition("=")[0] in default]
        try:
            return _list_nodes(compose(stored, overrides=choices))
        except HydraException:
            return _list_nodes(default)


def _list_nodes(config: DictConfig) -> tuple[list[str], dict[str, str]]:
    leaves = dict(flatten(OmegaConf.to_container(config, resolve=False)))
    inner = {".".join(key.split(".")[:n]) for key in leaves for n in range(1, key.count(".") + 1)}
    targets = {key.removesuffix("._target_"): name for key, name in leaves.items() if key.endswith("._target_")}
    return sorted({*leaves, *inner}), targets
