import itertools
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from ecgcls.data.signals import LEADS, read_record
from ecgcls.errors import DataError
from ecgcls.reporting.experiment import collect
from ecgcls.reporting.gallery import collect_galleries
from ecgcls.reporting.page import write_report
from ecgcls.runs.directory import RunDirectory
from tests.reporting.outline import Outline


@pytest.fixture(scope="module")
def page(experiment):
    return write_report(experiment, output=experiment / "report.html").read_text()


def test_the_page_holds_everything_and_refers_to_nothing_outside(page):
    outline = Outline(page)
    outside = [address for address in outline.addresses if not address.startswith("#")]
    outside = [address for address in outside if not address.endswith(("/model_card.md", "/tripod_ai.md"))]
    assert [address.partition(",")[0] for address in outside] == ["data:image/svg+xml"]
    assert "default-src 'none'" in page[:1000]
    assert "@import" not in page.partition("<script>")[0]
    assert len(page) < 10e6
    for heading in ("Leaderboard", "Classes", "Curves", "Training", "Subgroups", "Data", "Versions", "Limits"):
        assert heading in outline.text
    assert "Simulated ECGs." in outline.text
    assert "Research software, not a medical device" in outline.text


def test_headings_never_skip_a_level(page):
    headings = Outline(page).headings
    assert headings[0] == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(headings))


def test_names_that_users_choose_are_inert(page):
    """A class is called ``<b>&"HYP'`` and an error says ``<memory>``: neither may become markup."""
    outline = Outline(page)
    assert "<b>&\"HYP'" in outline.text
    assert "out of <memory>" in outline.text
    assert not {"b", "memory"} & set(outline.tags)
    json = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, flags=re.DOTALL)
    assert len(json) == 6
    assert not any("<" in text or ">" in text for text in json)


def test_every_table_has_a_caption_and_every_run_is_named(page):
    tags = Outline(page).tags
    assert tags.count("table") == tags.count("caption") > 5
    assert "cnn1d/seed=2,trainer.max_epochs=3/fold_0" in page


def test_the_leaderboard_agrees_with_the_predictions(page, experiment):
    found = collect(experiment)
    rows = {row[0].strip(): [cell.partition(" [")[0].strip() for cell in row[1:]] for row in Outline(page).rows[2:5]}
    assert list(rows) == ["cnn2d", "cnn1d seed=1", "cnn1d seed=2"]
    assert rows["cnn2d"][0] == "2 of 3 (1 failed)"
    assert rows["cnn1d seed=2"] == ["0 of 1 (1 running)"] + ["no result"] * 8
    tested = found.configurations[1].tested.merge_folds()
    pooled = average_precision_score(tested.y_true, tested.y_prob, average="macro")
    f1 = f1_score(tested.y_true, tested.y_prob >= 0.5, average="macro")
    parts = found.configurations[1].predictions("test")
    for first, measure in ((1, average_precision_score), (3, roc_auc_score)):
        by_fold = [measure(part.y_true, part.y_prob, average="macro") for part in parts]
        expected = f"{np.mean(by_fold):.3f} ± {np.std(by_fold, ddof=1):.3f}"
        assert rows["cnn1d seed=1"][first] == expected
    assert [rows["cnn1d seed=1"][column] for column in (0, 2, 6)] == ["3 of 3", f"{pooled:.3f}", f"{f1:.3f}"]
    assert rows["cnn1d seed=1"][7:] == ["1,234", "4.5"]


def test_a_confusion_matrix_names_its_sides(page, experiment):
    outline = Outline(page)
    matrices = [n for n, row in enumerate(outline.rows) if row == ["", "predicted negative", "predicted positive"]]
    assert len(matrices) == 6
    row = collect(experiment).configurations[0].scores.by_class.iloc[0]
    for line, (name, *counts) in zip(
        outline.rows[matrices[0] + 1 :],
        (("actual negative", row["tn"], row["fp"]), ("actual positive", row["fn"], row["tp"])),
        strict=False,
    ):
        shares = [round(100 * count / sum(counts), 1) for count in counts]
        assert line == [name, *(f"{count:.0f}{share}%" for count, share in zip(counts, shares, strict=True))]


def test_a_missing_data_set_is_reported_where_the_subgroups_would_be(experiment, tmp_path):
    page = write_report(experiment, output=tmp_path / "page.html", data_root=tmp_path / "gone").read_text()
    assert f"There is no readable data set at {tmp_path / 'gone'}." in Outline(page).text


def test_what_is_not_defined_is_not_a_number(experiment, write_configuration, tmp_path):
    folder = tmp_path / "lone"
    write_configuration(folder, "cnn1d", skill=0.3, folds=(0,))
    predictions = folder / "cnn1d" / "fold_0" / "predictions.csv"
    table = pd.read_csv(predictions)
    table["y_true_NORM"] = 0
    table.to_csv(predictions, index=False)
    RunDirectory(predictions.parent).seal()
    text = Outline(write_report(folder, output=tmp_path / "page.html").read_text()).text
    assert "not defined: no positive record" in text
    assert "nan" not in text.lower().split()


def test_training_without_the_usual_metric_is_not_measured(write_configuration, tmp_path):
    folder = write_configuration(tmp_path / "demo", "cnn1d")
    for path in folder.glob("fold_*/history.csv"):
        pd.read_csv(path).drop(columns="val/pr_auc").to_csv(path, index=False)
        RunDirectory(path.parent).seal()
    rows = Outline(write_report(tmp_path / "demo", output=tmp_path / "page.html").read_text()).rows
    assert ["cnn1d", "2, 2, 2", "not measured", "not measured"] in rows


@pytest.fixture
def explained(tmp_path, write_configuration, synthetic_root, database):
    """A run of which two records were explained by a method that fails one check."""
    folder = tmp_path / "explained"
    run = write_configuration(folder, "cnn1d", skill=0.3, folds=(0,)) / "fold_0"
    rows = []
    for outcome, ecg_id in zip(("FN", "TP"), database.index[:2], strict=True):
        name = f"ecg_{ecg_id}.npz"
        signal_mv = read_record(synthetic_root / database.loc[ecg_id, "filename_lr"]).signal_uv * 1e-3
        (run / "interpret").mkdir(exist_ok=True)
        np.savez(
            run / "interpret" / name,
            attribution=0.1 * signal_mv,
            signal_mv=signal_mv,
            lead_names=np.array(LEADS),
            sampling_rate_hz=100,
            unit="logit",
        )
        rows.append(
            {"ecg_id": ecg_id, "class": "NORM", "outcome": outcome, "method": "saliency", "y_true": "NORM"}
            | {"y_prob": 0.25, "attribution": name, "figure": "none.png"}
        )
    pd.DataFrame(rows).to_csv(run / "interpret" / "records.csv", index=False)
    (run / "interpret" / "scorecard.json").write_text(
        '{"methods": {"saliency": {"randomization": {"passes": false}, "deletion": {"passes": true}, '
        '"insertion": {"passes": true}, "completeness": null, "warnings": ["saliency: do not believe it"]}}}'
    )
    return folder


def test_explained_ecgs_are_shown_with_the_evidence_against_them(explained, tmp_path):
    (gallery,) = collect_galleries(collect(explained).configurations, max_bytes=10**7)
    assert [passes for _, passes in gallery.verdicts] == [False, True, True]
    assert gallery.warnings == ["saliency: do not believe it"]
    assert [caption.split("(")[1].split(")")[0] for caption, _ in gallery.pictures] == [
        "true positive",
        "false negative",
    ]
    assert gallery.pictures[0][0].partition(": ")[2] == "NORM, predicted probability 0.25 (true positive); actual: NORM"
    page = write_report(explained, output=tmp_path / "page.html").read_text()
    markup = page.partition("</footer>")[0]
    assert markup.count("12-lead ECG with attribution by saliency") == 2
    ids = re.findall(r'\bid="([^"]+)"', markup)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("records.csv", b"", "No columns to parse"),
        ("records.csv", b"ecg_id,class\n1,NORM\n", "no column outcome"),
        ("records.csv", b"ecg_id,class,outcome,method,y_true,y_prob,attribution\n1,A,XY,a,A,0.5,b\n", "outcome 'XY'"),
        ("records.csv", b"ecg_id,class,outcome,method,y_true,y_prob,attribution\n1,A,TP,a,A,0.5,gone.npz\n", "No such"),
        ("scorecard.json", b"{", "Expecting property name"),
        ("scorecard.json", b'{"methods": {"saliency": {"warnings": [], "deletion": {}}}}', "'passes'"),
        ("*.npz", b"PK\x03\x04", "zip file"),
        ("*.npz", b"", "No data left"),
    ],
)
def test_damaged_explanations_are_reported_in_a_line(explained, name, content, reason):
    for path in explained.rglob(f"interpret/{name}"):
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"interpret/.*this result of interpret is damaged \(.*{reason}"):
        collect_galleries(collect(explained).configurations, max_bytes=10**7)


def test_a_page_that_would_grow_too_large_names_what_it_left_out(explained, tmp_path, monkeypatch):
    whole = len(write_report(explained, output=tmp_path / "page.html").read_bytes())
    monkeypatch.setattr("ecgcls.reporting.page.MAX_BYTES", whole - 10_000)
    page = write_report(explained, output=tmp_path / "page.html").read_text()
    assert "1 more picture is left out" in page
    assert len(page.encode()) < whole - 10_000
    monkeypatch.setattr("ecgcls.reporting.page.MAX_BYTES", 1000)
    assert "2 pictures are left out" in write_report(explained, output=tmp_path / "page.html").read_text()


def test_each_configuration_has_a_model_card_and_a_checklist_that_invents_nothing(page, experiment):
    found = collect(experiment)
    for one in found.configurations:
        card, checklist = ((one.folder / name).read_text() for name in ("model_card.md", "tripod_ai.md"))
        assert f"{one.scores.overall['pr_auc']:.3f}" in card
        assert "Not a medical device" in card
        rows = [line.split(" | ") for line in checklist.splitlines() if line.startswith("| ") and "---" not in line]
        answers = {row[0].strip("| "): row[-1] for row in rows[1:]}
        assert len(answers) == 52  # the items of TRIPOD+AI, sub-items counted
        for item in ("17", "18a", "18b", "19", "25"):
            assert "**Open.**" in answers[item]
        assert f"{one.scores.overall['pr_auc']:.3f}" in answers["23a"]
    assert page.count(">Model card</a>") == page.count(">TRIPOD+AI checklist</a>") == len(found.configurations)
