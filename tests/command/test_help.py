import re

from ecgcls.command.help import format_help


def test_the_help_of_a_run_shows_the_comments_of_its_choices():
    text = format_help("config", ["data=synthetic", "trainer.max_epochs=3"])
    assert re.search(r"^data:  # data=synthetic\n  # Simulated ECGs .*", text, flags=re.MULTILINE)
    assert "  n_records: 1000            # 50 to 21,799\n" in text
    assert "model: age_sex, cnn1d, cnn2d" in text
    assert "\n+preset: " in text and "defaults:" not in text


def test_a_command_lists_the_groups_that_it_takes():
    choices = format_help("labels", []).partition("== Choices")[2].partition("==\n")[2].partition("\n\n")[0]
    assert [line.partition(":")[0] for line in choices.splitlines()] == ["data", "folds", "task"]
