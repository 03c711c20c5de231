from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from ecgcls.command.arguments import expand_home, read_arguments
from ecgcls.errors import ConfigError

TYPED = [
    "データ", "a,b", "x=1", "C:\\ecg", "C:\\ecg\\", "my ecgs", "it's", '"a', "'a", "$HOME", "[1]", "{a}", "#1", "why!",
    "a\nb", "%50", "null x", "über/ecg", "\\'", "choice(1,2)", "-3",
]  # fmt: skip


def parse(argument):
    return OverridesParser.create().parse_override(argument)


@pytest.mark.parametrize("key", ["data.root", "logger.csv.save_dir", "+data.manifest", "experiment", "hydra.run.dir"])
def test_paths_and_texts_arrive_as_they_were_typed(key):
    for text in TYPED:
        override = parse(*read_arguments([f"{key}={text}"], ["experiment"]))
        assert (override.value(), override.is_sweep_override()) == (text, False)


def test_what_is_neither_is_left_to_the_grammar():
    typed = ["model=cnn1d,cnn2d", "fold=0", "+trainer.max_time={seconds: 2}", "-m", "--config-dir=a dir", "~logger.csv"]
    assert read_arguments([*typed, "data.root=null", "data.root='a,b'"], ["experiment"]) == [
        *typed, "data.root=null", "data.root='a,b'",
    ]  # fmt: skip


def test_in_a_sweep_a_comma_separates_unless_it_is_quoted():
    typed = ["-m", "data.root=~/a,C:\\b", "experiment=a,b", "output_dir='a,b'", "data.store_dir=choice(a,b)"]
    read = [parse(argument) for argument in read_arguments(typed, ["experiment"], may_sweep=True)[1:]]
    assert [override.is_sweep_override() for override in read] == [True, True, False, True]
    strings = [list(override.sweep_string_iterator()) for override in read[:2]]
    assert [[parse(f"x={each}").value() for each in values] for values in strings] == [
        [str(Path("~/a").expanduser()), "C:\\b"],
        ["a", "b"],
    ]
    assert parse(*read_arguments(["data.root=a,b"], [], may_sweep=True)).value() == "a,b"  # no sweep


def test_a_leading_tilde_is_a_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert parse(*read_arguments(["data.root=~/ptbxl"], [])).value() == "/home/somebody/ptbxl"
    assert parse(*read_arguments(["output=a~b"], ["output"])).value() == "a~b"
    config = {"data": {"root": "~/ptbxl", "note": "~/x"}, "output_dir": "~", "fold": 0}  # from a YAML file
    assert expand_home(config) == {
        "data": {"root": "/home/somebody/ptbxl", "note": "~/x"}, "output_dir": "/home/somebody", "fold": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("", "an argument is empty, perhaps a variable that is not set"),
        ("output=", r"output= is empty, expected a path; \. is the current folder; null is none"),
        ("+data.root=", r"data\.root= is empty, expected a path"),
        ("data.root=\udcff", "not a text in UTF-8"),
    ],
)
def test_nothing_and_what_is_no_text_are_refused(argument, message):
    with pytest.raises(ConfigError, match=message):
        read_arguments([argument], ["output"])
