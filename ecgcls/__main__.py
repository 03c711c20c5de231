"""``ecgcls``, and ``python -m ecgcls``: ``ecgcls run model=cnn1d`` is ``python -m ecgcls.run model=cnn1d``."""

import os
import re
import sys
from pathlib import Path

from ecgcls import __version__
from ecgcls.identity import suggest

_FIRST_LINE = re.compile(r'"""(.+): ``python -m ecgcls\.(\w+) --help``')  # of a command's module
_COMPLETION = r"""
_ecgcls() {
    local line="${COMP_LINE:0:COMP_POINT}" typed found
    typed="${line##* }"
    if [[ "$line" != *" "*" "* ]]; then
        found="@COMMANDS@"
    else
        line="${line#* }"
        found=$(COMP_LINE="ecgcls.$line" "${COMP_WORDS[0]}" "${line%% *}" -sc query=bash 2>/dev/null)
        found=$(tr ' ' '\n' <<< "$found" | grep -E '=|[.]$|^hydra/')
    fi
    COMPREPLY=($(compgen -W "$found" -- "$typed"))
    local number start=""
    [[ "$COMP_WORDBREAKS" == *=* ]] && start="${typed%"${typed##*=}"}"
    for number in "${!COMPREPLY[@]}"; do
        [[ "${COMPREPLY[number]}" == *[=./] ]] || COMPREPLY[number]+=" "
        COMPREPLY[number]="${COMPREPLY[number]#"$start"}"
    done
}
complete -o nospace -o default -F _ecgcls ecgcls
"""


def list_commands() -> dict[str, str]:
    """Return what each command does, in one line, by its name."""
    package = Path(__file__).parent
    starts = [path.read_text(encoding="utf-8") for path in (*package.glob("*.py"), *package.glob("*/__main__.py"))]
    return dict(sorted((found[2], found[1]) for found in map(_FIRST_LINE.match, starts) if found))


def main() -> None:
    """Become the command that is named, or list them all."""
    commands = list_commands()
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in commands:
        os.execv(sys.executable, [sys.executable, "-m", f"ecgcls.{name}", *arguments])
    elif [name, *arguments] == ["completion", "bash"]:
        print(_COMPLETION.replace("@COMMANDS@", " ".join([*commands, "completion"])))
    elif name in ("--version", "-V"):
        print(f"ecgcls {__version__}")
    elif name in ("--help", "-h", "help"):
        print(f"ecgcls {__version__}: experiments with 12-lead ECG classifiers\n")
        lines = {**commands, "completion": 'Completes words in bash: eval "$(ecgcls completion bash)"'}
        for each, what in lines.items():
            print(f"  ecgcls {each:<11} {what.replace('``', '')}")
        print("\necgcls COMMAND --help explains a command; python -m ecgcls.COMMAND is the same command.")
    else:
        near = suggest(name, [*commands, "completion bash"])
        print(f"error: {ascii(name)[1:-1]}: no such command{near}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
