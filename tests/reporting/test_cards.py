"""Every sentence of the model card and the checklist that states a fact, held against what the runs left behind."""

import json
import re

import markdown
import pytest
from omegaconf import OmegaConf

from ecgcls.evaluation.settings import Bootstrap, CalibrationRule, EvaluationSettings, Subgroups, ThresholdRule
from ecgcls.reporting.cards import write_cards
from ecgcls.reporting.experiment import collect
from ecgcls.reporting.facts import list_leaderboard
from ecgcls.reporting.page import write_report
from ecgcls.runs.directory import RunDirectory
from tests.reporting.conftest import CLASSES
from tests.reporting.outline import Outline

ODD = "N|O`R_M*"
_CITED = re.compile(r"`([\w./]+\.(?:csv|json|ckpt|md|yaml))`")


@pytest.fixture(scope="module")
def written(tmp_path_factory, write_configuration):
    """The folders, by model, of an experiment with two of three folds, untuned and unweighted classes, and a baseline.

    The first class of cnn1d has a name that Markdown would read.
    """
    experiment = tmp_path_factory.mktemp("cards") / "demo"
    rules = {"calibration": CalibrationRule(min_positives=7), "thresholds": ThresholdRule(min_positives=6)}
    quick = {"evaluation": EvaluationSettings(intervals=Bootstrap(50), subgroups=Subgroups(n_resamples=10))}
    folders = {"cnn1d": write_configuration(experiment, "cnn1d", folds=(0, 2), info=quick, **rules)}
    for path in (*folders["cnn1d"].glob("fold_*/*.csv"), *folders["cnn1d"].glob("fold_*/run.json")):
        path.write_text(path.read_text().replace("_NORM", f"_{ODD}").replace('"NORM"', f'"{ODD}"'))
    for path in folders["cnn1d"].glob("fold_*/run.json"):
        noted = '"manifest": "ecgs.parquet", "repairs": {"cut to 10 s": 3, "lead|b": 1}, "root"'
        path.write_text(path.read_text().replace('"root"', noted))
    for fold in (0, 2):
        for name in ("metrics_by_class.csv", "subgroups.csv", "best.ckpt", "repairs.csv"):
            (folders["cnn1d"] / f"fold_{fold}" / name).touch()
        RunDirectory(folders["cnn1d"] / f"fold_{fold}").seal()
    real = quick | {"kind": "baseline", "synthetic": False, "leakage": {}}
    folders["age_sex"] = write_configuration(experiment, "age_sex", folds=(1,), info=real, **rules)
    (folders["age_sex"] / "fold_1" / "intervals.csv").touch()
    RunDirectory(folders["age_sex"] / "fold_1").seal()
    write_report(experiment, output=experiment / "report.html")
    return folders


def read(folder, name="model_card.md"):
    return (folder / name).read_text()


def read_infos(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("fold_*/run.json"))]


def test_decisions_are_told_for_each_fold_and_class_as_they_were_made(written):
    section = (
        Outline(markdown.markdown(read(written["cnn1d"]))).text.partition("Decisions")[2].partition("Subgroups")[0]
    )
    sentences = re.findall(
        r"Fold (\d), on its (\d+) validation records: probabilities (.*?); thresholds (.*?)\.\n", section
    )
    infos = read_infos(written["cnn1d"])
    assert [int(fold) for fold, *_ in sentences] == [info["fold"] for info in infos] == [0, 2]
    kinds = set()
    for info, (_, n_records, calibrated, decided) in zip(infos, sentences, strict=True):
        decisions = info["decisions"]
        assert int(n_records) == decisions["learned_on"]["n_records"]
        tuned, _, untuned = decided.partition("thresholds not tuned")
        for name, at in info["thresholds"].items():
            kind = decisions["calibrator"]["by_class"][name]["method"]
            kinds.add((kind, name in decisions["not_tuned"]))
            phrase = {"platt": "recalibrated by Platt scaling", "unweighted": "with the loss's weight taken out"}[kind]
            part = calibrated.partition(phrase)[2].partition(");")[0]
            assert name in part
            assert f"{name} {at:.3g}" in (untuned if name in decisions["not_tuned"] else tuned)
            if name in decisions["not_tuned"]:
                assert f"{name}: {decisions['not_tuned'][name]}" in untuned
    assert {("platt", False), ("unweighted", True)} <= kinds  # else the test would show nothing


def test_every_file_that_is_cited_is_there(written):
    cited = {}
    for model, folder in written.items():
        for name in ("model_card.md", "tripod_ai.md"):
            found = set(_CITED.findall(read(folder, name)))
            cited[model, name] = found
            for path in found:
                assert (folder / path).is_file() or all((run / path).is_file() for run in folder.glob("fold_*"))
    assert {"best.ckpt", "subgroups.csv", "model_card.md"} <= cited["cnn1d", "tripod_ai.md"]
    assert not any(
        "metrics_by_class" in path for path in cited["cnn1d", "model_card.md"]
    )  # no file has the pooled ones
    assert "fold_1/intervals.csv" in cited["age_sex", "model_card.md"]


def test_with_all_folds_the_pooled_files_are_cited_and_what_is_missing_is_not(tmp_path, write_configuration):
    folder = write_configuration(tmp_path / "demo", "cnn2d")
    (folder / "cv").mkdir()
    (folder / "cv" / "metrics_by_class.csv").touch()
    (one,) = collect(tmp_path / "demo").configurations
    write_cards(one, folder, intervals=dict.fromkeys(list_leaderboard()), worst="", limits=[])
    for name in ("model_card.md", "tripod_ai.md"):
        text = read(folder, name)
        assert "`cv/metrics_by_class.csv`" in text and "intervals.csv" not in text
        assert "Finished: 3 of 3 folds (0, 1, 2)." in text
        assert "from a bootstrap over patients" not in text
        assert "No subgroup was scored." in text
        assert "counts positive and negative records alike" in text
        assert "thresholds fixed at 0.5, not tuned" in text and "as the model gives them (" in text


def test_what_is_finished_and_what_is_simulated_is_told(written):
    for name in ("model_card.md", "tripod_ai.md"):
        net, baseline = read(written["cnn1d"], name), read(written["age_sex"], name)
        assert "Finished: 2 of 3 folds (0, 2)." in net and "2 of 3 folds)" in net
        assert name != "model_card.md" or "The mean of their probabilities" in net  # what predict fold=all applies
        assert "Finished: 1 of 3 folds (1)." in baseline
        assert "The ECGs are simulated" in net and "The ECGs are simulated" not in baseline
        assert "No run recorded its checks for leaks." in baseline
        assert "cnn1d" not in baseline and "age" not in net.replace("average", "").replace("coverage", "").split()


def test_a_baseline_is_no_net(written):
    for name in ("model_card.md", "tripod_ai.md"):
        text = read(written["age_sex"], name)
        assert not re.search(r"optimizer|[Ll]oss `|epochs,|standard deviation|samples per lead|best\.ckpt", text)
        assert "The ECG is not used." in text
        assert "as the model gives them, too few records" in text


def test_names_that_users_choose_stay_text(written):
    for name in ("model_card.md", "tripod_ai.md"):
        page = markdown.markdown(read(written["cnn1d"], name), extensions=["tables"])
        outline = Outline(page)
        assert not {"b", "em", "script"} & set(outline.tags)
        assert ODD in outline.text and CLASSES[2] in outline.text
        widths = {len(row) for row in outline.rows}
        assert len(widths) == 1, widths
    assert [row[0] for row in Outline(markdown.markdown(read(written["cnn1d"]), extensions=["tables"])).rows[1:]] == [
        ODD,
        *CLASSES[1:],
    ]


def test_the_checklist_counts_what_is_open(written):
    for folder in written.values():
        rows = [line for line in read(folder, "tripod_ai.md").splitlines() if re.match(r"\| \d", line)]
        n_open, n_partly = (sum(f"**{state}.**" in row for row in rows) for state in ("Open", "Partly"))
        assert len(rows) == 52
        assert f": {52 - n_open - n_partly} of 52 items are answered, {n_partly} partly, {n_open} are open." in read(
            folder, "tripod_ai.md"
        )


def test_counts_alone_answer_no_item(written):
    """10 asks for a justified sample size, 14 for an approach to fairness, 16 for differences of setting."""
    rows = [line.split(" | ") for line in read(written["cnn1d"], "tripod_ai.md").splitlines() if line.startswith("| ")]
    answers = {row[0].strip("| "): row[-1] for row in rows}
    assert answers["10"].startswith("**Partly.** The 95% intervals to be expected on these test records")
    assert re.search(r"\(\d+ positive patients\) ROC-AUC \d\.\d\d, PR-AUC \d\.\d\d, sensitivity", answers["10"])
    assert "train: 10 records of 9 patients" in answers["10"]
    assert answers["14"].startswith("**Open.** No approach to fairness is known")
    assert answers["16"].startswith("**Partly.** Train and test records come from one data set")
    assert re.search(r"A human validated the labels of \d+% \(fold 0\), \d+% \(fold 2\) of the test", answers["16"])
    assert answers["21"].startswith("Fold 0: train: 10 records")


def test_the_page_shows_the_range_of_the_folds_own_thresholds(written):
    rows = Outline((written["cnn1d"].parent / "report.html").read_text()).rows
    infos = read_infos(written["cnn1d"])
    shown = {row[0]: row[-1] for row in rows if len(row) > 10 and row[1].strip() == "cnn1d"}
    assert sorted(shown) == sorted([ODD, *CLASSES[1:]])
    for name in shown:
        own = [info["thresholds"][name] for info in infos]
        ends = sorted({f"{min(own):.2f}", f"{max(own):.2f}"})
        n_untuned = sum(name in info["decisions"]["not_tuned"] for info in infos)
        note = f" (not tuned in {n_untuned} of 2 folds)" if n_untuned else ""
        assert shown[name] == " to ".join(ends) + note


def test_a_manifest_is_named_and_repairs_are_told(written):
    for name in ("model_card.md", "tripod_ai.md"):
        text = read(written["cnn1d"], name)
        assert "`ecgs.parquet`, 60 labeled records" in text
        assert re.search(
            r"Repaired or noted, in fold 0: 3 . cut to 10 s; 1 . lead&#124;b \(by record: `repairs.csv`", text
        )
        assert "Repaired" not in read(written["age_sex"], name)
    page = Outline((written["cnn1d"].parent / "report.html").read_text()).text
    assert re.search(r"ecgs\.parquet\W+60 records with 2 leads were used", page)


def test_own_labels_and_folds_are_told_in_their_words(tmp_path, write_configuration):
    folder = write_configuration(tmp_path / "demo", "cnn2d", folds=(0,))
    path = folder / "fold_0" / ".hydra" / "config.yaml"
    own = {
        "data": {"manifest": "ecgs.csv", "label_columns": ["af"]},
        "task": {"statements": "all", "classes": "statement"},
    }
    OmegaConf.save(OmegaConf.merge(OmegaConf.load(path), own), path)
    RunDirectory(folder / "fold_0").seal()
    (one,) = collect(tmp_path / "demo").configurations
    write_cards(one, folder, intervals=dict.fromkeys(list_leaderboard()), worst="", limits=[])
    card, checklist = read(folder), read(folder, "tripod_ai.md")
    for text in (card, checklist):
        assert "from the column af of `ecgs.csv` (each label is a class)" in text and "strat_fold" not in text
    assert "By class: the table below" in card and "model_card.md" not in card
    assert "Test parts, of ten by patient, of the" in checklist
