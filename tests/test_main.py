import os
import subprocess
import sys

import pytest

from ecgcls import __version__
from ecgcls.__main__ import list_commands, main
from tests.test_commands import COMMANDS

COMPLETE = """
eval "$(ecgcls completion bash)"
for line in "ecgcls ev" "ecgcls run model=cnn"; do
    COMP_LINE="$line"; COMP_POINT=${#line}; COMP_WORDS=($line); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _ecgcls
    printf '%s|' "${COMPREPLY[@]}"
done
"""


def test_every_command_is_listed_with_what_it_does(capsys, monkeypatch):
    assert list(list_commands()) == COMMANDS
    for arguments in ([], ["--help"]):
        monkeypatch.setattr(sys, "argv", ["ecgcls", *arguments])
        main()
        printed = capsys.readouterr().out
        assert "  ecgcls labels      Show which labels a task makes" in printed
    monkeypatch.setattr(sys, "argv", ["ecgcls", "--version"])
    main()
    assert capsys.readouterr().out == f"ecgcls {__version__}\n"


def test_a_command_that_is_not_there_has_a_near_match(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ecgcls", "evalute"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == "error: evalute: no such command; did you mean evaluate?\n"


def test_ecgcls_becomes_the_command_and_completes_words_in_bash(tmp_path):
    script = tmp_path / "ecgcls"  # as pip writes it
    script.write_text(f"#!{sys.executable}\nfrom ecgcls.__main__ import main\nmain()\n")
    script.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    options = {"env": {**os.environ, "PATH": path}, "capture_output": True, "text": True, "timeout": 60}
    done = subprocess.run(["bash", "-c", COMPLETE], **options)
    assert done.stdout == "evaluate |cnn1d |cnn2d |", done.stderr
    done = subprocess.run([script, "run", "--version"], **options)
    assert done.stdout == f"ecgcls {__version__}\n"
