"""How a command starts, and how it refuses: one line on standard error and exit code 1.

`HYDRA_FULL_ERROR=1` shows the whole traceback instead.
"""

import functools
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NoReturn

import hydra
from hydra import compose
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ecgcls.config import CONF_DIR, list_keys, suggest, suggest_key
from ecgcls.errors import ConfigError, DataError
from ecgcls.interruption import TRY_AGAIN, is_disk_full, stop_on_sigterm, was_told_to_stop
from ecgcls.processes import is_of_command, read_rank

_EXPECTED = (ConfigError, DataError, HydraException, OmegaConfBaseException, ConnectionError)

_EXTRAS = {"submitit_slurm": "slurm", "hydra_ray_launcher": "ray", "sweeper/optuna": "search"}  # of pyproject.toml
_TRACEBACK = "ECGCLS_TRACEBACK"  # in the environment of the processes that a command starts: what the user said
_SHARED = ["output_subdir", "run", "sweep", "hydra_logging", "job_logging", "help"]  # of the run command's `hydra:`
_RUN = "config"  # the one command whose configuration is composed of groups
_NO_TRIAL = "No trials are completed yet"  # Optuna's words
_NUMBER_OF_GROUP = "Config group override must be"  # Hydra's words for folds=7


def run_command(task: Callable[[DictConfig], Any], *, config_name: str, texts: tuple[str, ...] = ()) -> None:
    """Run a Hydra application on the command line's arguments.

    Parameters
    ----------
    task
        Takes the composed configuration.
    config_name
        The YAML file of the command, in the top of ``conf/``.
    texts
        Keys whose value is taken as it is typed: paths and lists with ``,``, ``=``, ``*`` or blanks in them.
    """
    stop_on_sigterm()
    warnings.filterwarnings("ignore", message="(?s).*validated against ConfigStore schema")  # our launcher=ray by Ray's
    sys.argv[1:] = [_quote(argument, texts) for argument in sys.argv[1:]]
    shows_traceback = os.environ.get(_TRACEBACK if is_of_command() else "HYDRA_FULL_ERROR") == "1"
    os.environ[_TRACEBACK] = str(int(shows_traceback))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then hands exceptions on instead of printing and exiting

    @functools.wraps(task)
    def refuse_or_run(config: DictConfig) -> Any:
        try:
            return task(config)
        except Exception as error:
            if shows_traceback or not is_expected(error):
                raise
            _refuse(error, config_name)

    config_path, stored = str(CONF_DIR), config_name
    if config_name != _RUN:
        stored = f"ecgcls_{config_name}"
        _store(config_name, stored)
        if not _is_composed(config_name):
            config_path = "pkg://ecgcls"  # not conf/ with its groups: model=cnn1d names a run here, not a file
    application = hydra.main(version_base="1.3", config_path=config_path, config_name=stored)
    try:
        application(refuse_or_run)()
    except KeyboardInterrupt:
        _say_interrupted(config_name)
    except Exception as error:
        if isinstance(error, BrokenProcessPool) and was_told_to_stop():
            _say_interrupted(config_name)  # the processes of a sweep had the signal too
        if shows_traceback or not is_expected(error):
            raise
        _refuse(error, config_name)


def compose_default(config_name: str) -> tuple[DictConfig, dict[str, Any], dict[str, Any]]:
    """Compose what the running job's choices give without its other overrides.

    Returns
    -------
    config
        The configuration of the same choices, all else at its default.
    choices, default_choices
        The job's choice in each group, and the choice made by default.
    """
    job = HydraConfig.get()
    search_path = [override for override in job.overrides.hydra if override.startswith("hydra.searchpath")]
    choices = _own_choices(job.runtime.choices)
    plain = compose(config_name, overrides=search_path, return_hydra_config=True)
    default_choices = _own_choices(plain.hydra.runtime.choices)
    overrides = [
        f"{'' if group in default_choices else '+'}{group}={'null' if choice is None else choice}"
        for group, choice in choices.items()
        if choice != default_choices.get(group)
    ]
    return compose(config_name, overrides=[*search_path, *overrides]), choices, default_choices


def is_expected(error: Exception) -> bool:
    """Whether an error is told in one line; any other is a fault of the program and shows its traceback."""
    is_number_of_group = isinstance(error, ValueError) and _NUMBER_OF_GROUP in str(error)
    is_told = is_number_of_group or is_disk_full(error) or _NO_TRIAL in str(error) or _is_of_slurm(error)
    is_told = is_told or _find_absent_extra(str(error)) is not None
    return isinstance(error, (*_EXPECTED, BrokenProcessPool)) or is_told


def explain(error: BaseException, config_name: str) -> str:
    """Say an error in one line: what, where, expected, got, what to do."""
    for cause in _causes(error):
        if isinstance(cause, ConfigError | DataError):
            return " ".join(str(cause).split())
    if isinstance(error, OSError) and is_disk_full(error):
        return (
            f"{error.filename or 'a file'}: cannot be written ({error.strerror}); what stood there before is whole. "
            "Make room, and the same command goes on"
        )
    if isinstance(error, ConnectionError) and "Ray" in str(error):
        said = f"{str(error)[0].lower()}{str(error)[1:]}"
        return f"hydra.launcher.ray.init.address: {said}; does it run there, and want a token (RAY_AUTH_MODE=token)?"
    if isinstance(error, BrokenProcessPool):
        return (
            "a process of the sweep was killed (memory full?); hydra.launcher.n_jobs=1 needs the least, and the same "
            "command goes on from the last epochs"
        )
    if _is_of_slurm(error):
        return f"hydra/launcher=slurm: {'; '.join(line.strip() for line in str(error).splitlines() if line.strip())}"
    if _NO_TRIAL in str(error):
        return "no trial of the search finished; why stands above"
    if _NUMBER_OF_GROUP in str(error):
        return "a group's choice is a name, as in folds=cv5, not a number (fold=0 is the fold)"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = "\n".join(lines)
    if unknown := re.search(r"Could not override '([^']+)'", text):
        key, known = unknown[1], _known_keys(config_name)
        if inner := [name for name in known if name.startswith(f"{key}.")]:
            return (
                f"{key} is set by its parts here: {', '.join(inner)} (all else comes from the run's own configuration)"
            )
        return f"{key}: no such key{suggest_key(key, known)}"
    if extra := _find_absent_extra(text):
        return f"{extra} needs packages that are not installed: pip install 'ecgcls[{extra}]'"
    if choice := re.search(r"Could not find '([^']+)/([^/']+)'", text):
        group, name = choice[1], choice[2]
        options = text.partition("Available options in")[2].partition("Config search path")[0].splitlines()[1:]
        return f"{group}={name}: no such choice{suggest(name, options)} (choices: {', '.join(options)})"
    return "; ".join(lines[:2])


def _refuse(error: Exception, config_name: str) -> NoReturn:
    print(f"error: {explain(error, config_name)}", file=sys.stderr)
    sys.exit(1)


def _say_interrupted(config_name: str) -> NoReturn:
    goes_on = "; the same command goes on from the last epoch" if config_name == _RUN else ""
    if read_rank() == 0 and not is_of_command():
        print(f"{'stopped by SIGTERM' if was_told_to_stop() else 'interrupted'}{goes_on}", file=sys.stderr)
    sys.exit(TRY_AGAIN if was_told_to_stop() else 130)


def _find_absent_extra(text: str) -> str | None:
    """Return the extra that would bring the plugin of whose absence Hydra complains."""
    if not re.search("Could not (find|load)|Unknown plugin class", text):
        return None
    return next((extra for name, extra in _EXTRAS.items() if name in text), None)


def _is_of_slurm(error: BaseException) -> bool:
    """Whether submitit, which knows SLURM, has raised an error."""
    return type(error).__module__.startswith("submitit") or "indeed on a slurm cluster" in str(error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _quote(argument: str, texts: tuple[str, ...]) -> str:
    """Quote the value of a text for Hydra's grammar, unless the user has done it."""
    key, is_setting, value = argument.partition("=")
    if not is_setting or key.lstrip("+") not in texts or value[:1] in ("'", '"') or value in ("", "null"):
        return argument
    # Before the closing quote the grammar reads a backslash as an escape; elsewhere it is one.
    body = re.sub(r"(\\*)'", r"\1\1\\'", value)
    body += "\\" * (len(body) - len(body.rstrip("\\")))
    return f"{key}='{body}'"


def _is_composed(config_name: str) -> bool:
    """Whether a command's configuration has groups."""
    return "defaults" in _load(config_name)


def _store(config_name: str, stored: str) -> None:
    """Hand a command's YAML to Hydra, with the logging and the help page of ``ecgcls.run``."""
    shared = OmegaConf.masked_copy(_load(_RUN).hydra, _SHARED)
    text = (CONF_DIR / f"{config_name}.yaml").read_text().partition("\nhydra:")[0]  # its comments tell what each is
    settings = "\n".join(text.splitlines()[1:])
    own = _load(config_name)
    groups = list(own.pop("defaults", []))
    if not groups:  # the comments of the YAML tell what each setting is
        template = f"${{hydra.help.header}}\n== Settings (key=value) ==\n{settings}\n\n${{hydra.help.footer}}"
        shared.help = {"template": template, "footer": shared.help.footer}
    quiet = [{"override hydra/job_logging": "none"}, {"override hydra/hydra_logging": "none"}, "_self_"]
    node = OmegaConf.merge({"hydra": shared}, own, {"defaults": [*groups, *quiet]})
    ConfigStore.instance().store(name=stored, node=node)


def _load(config_name: str) -> DictConfig:
    config = OmegaConf.load(CONF_DIR / f"{config_name}.yaml")
    assert isinstance(config, DictConfig)
    return config


def _known_keys(config_name: str) -> list[str]:
    """List the keys of the default configuration, with the command line's choices where they can be made."""
    if config_name != _RUN and not _is_composed(config_name):
        return [key for key in list_keys(_load(config_name)) if not key.startswith("hydra")]
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config_name = config_name if config_name == _RUN else f"ecgcls_{config_name}"
        default = compose(config_name)
        choices = [
            argument.partition(",")[0]
            for argument in sys.argv[1:]
            if argument.partition("=")[0] in default and re.fullmatch(r"\w+=[A-Za-z]\w*(,.*)?", argument)
        ]
        try:
            return list_keys(compose(config_name, overrides=choices))
        except HydraException:
            return list_keys(default)


def _own_choices(choices: Any) -> dict[str, Any]:
    """Leave out Hydra's own groups."""
    return {group: choice for group, choice in choices.items() if not group.startswith("hydra/")}
