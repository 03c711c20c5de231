import sys

import pytest

from ecgcls.command.start import run_command


@pytest.mark.parametrize(
    "text", ["a,b=c d", "it's", "x\\", "\\'", "1,2,3", "my/**/*.hea", "[1,2]", "{a}", "über/ecg", "a:b", "50%", "-3"]
)
def test_a_text_arrives_as_it_was_typed(monkeypatch, capsys, text):
    monkeypatch.setattr(sys, "argv", ["predict", f"input={text}"])
    run_command(lambda config: print(config.input, end=""), config_name="predict", texts=("input",))
    assert capsys.readouterr().out == text


def test_a_text_that_was_quoted_for_hydra_is_left_alone(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["predict", "input='a,b'", "output=null"])
    run_command(lambda config: print(config.input, config.output), config_name="predict", texts=("input", "output"))
    assert capsys.readouterr().out == "a,b None\n"
