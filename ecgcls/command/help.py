"""What ``--help`` prints: the examples of a command's YAML file, its choices, and its settings with their comments."""

import re
from collections.abc import Sequence

from ecgcls.command.refusal import RUN, load_yaml
from ecgcls.config import CONF_DIR


def format_help(config_name: str, arguments: Sequence[str]) -> str:
    """Return the help of a command, with the settings of the choices that were typed."""
    own = load_yaml(config_name)
    choices = {name: choice for each in own.get("defaults", []) if each != "_self_" for name, choice in each.items()}
    choices = {name: choice for name, choice in choices.items() if not name.startswith("override")}
    typed = dict(argument.split("=", 1) for argument in arguments if re.fullmatch(r"[a-z]+=\w+", argument))
    choices |= {name: choice for name, choice in typed.items() if name in choices}
    text = (CONF_DIR / f"{config_name}.yaml").read_text(encoding="utf-8").partition("\nhydra:")[0]
    settings = re.sub(r"^defaults:\n(  .*\n)+\n", "", text.partition("\n")[2], flags=re.MULTILINE)
    parts = [own.hydra.help.header.rstrip(), ""]
    if choices:
        parts += ["== Choices (group=choice) ==", *map(_list_choices, _list_groups(choices, config_name)), ""]
    parts += ["== Settings (key=value, key.subkey=value) ==", settings.strip()]
    parts += [_show_choice(group, choice) for group, choice in choices.items()]
    return "\n".join([*parts, "", (own.hydra.help.get("footer") or load_yaml(RUN).hydra.help.footer).rstrip()])


def _list_groups(choices: dict[str, str], config_name: str) -> list[str]:
    return sorted([*choices, *(["preset", "hydra/launcher"] if config_name == RUN else [])])


def _list_choices(group: str) -> str:
    names = sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))
    return f"{'+' if group == 'preset' else ''}{group}: {', '.join(names)}"


def _show_choice(group: str, choice: str) -> str:
    """Return a choice's file under the name of its group; somebody's own group files are elsewhere."""
    path = CONF_DIR / group / f"{choice}.yaml"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return "\n".join([f"{group}:  # {group}={choice}", *(f"  {line}".rstrip() for line in lines)])
