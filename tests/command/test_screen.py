import io
import logging
import subprocess
import sys

import pytest
from tqdm import tqdm

from ecgcls.command.screen import escape, guard_screen


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("MI\x1b[2J", "MI\\x1b[2J"),
        ("a\x07\x00\x7f\x9b1m", "a\\x07\\x00\\x7f\\x9b1m"),
        ("a\rb", "a\\rb"),
        ("abc\u202ecba", "abc\\u202ecba"),
        ("\udcff", "\\udcff"),
        ("データ é\t1\n", "データ é\t1\n"),
    ],
)
def test_control_characters_are_shown_not_obeyed(text, shown, capsys):
    with guard_screen():
        print(text, end="")
        print(text, end="", file=sys.stderr)
    assert tuple(capsys.readouterr()) == (shown, shown)


def test_a_log_that_was_there_before_is_guarded_too(capsys, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [logging.StreamHandler(sys.stderr)])
    with guard_screen():
        logging.getLogger("ecgcls").warning("A\x1b[2J")
    assert capsys.readouterr().err == "A\\x1b[2J\n"


def test_progress_bars_are_not_disturbed():
    def draw(stream):
        for place in (0, 1):
            with tqdm(total=2, position=place, ncols=60, file=stream, bar_format="{desc}{n}", desc="MI") as bar:
                bar.update()
                bar.refresh()
        return "".join(written)

    written: list[str] = []
    stream = io.StringIO()
    stream.write = lambda text: written.append(text) or len(text)
    plain = draw(stream)
    assert "\x1b[A" in plain and "\r" in plain
    assert "".join(map(escape, written)) == plain


def test_a_reader_that_has_gone_is_no_fault():
    command = [sys.executable, "-m", "ecgcls.run", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141
