import itertools
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from ecgcls.data.signals import LEADS, read_record
from ecgcls.reporting.collect import collect
from ecgcls.reporting.gallery import collect_galleries
from ecgcls.reporting.page import write_report


class Outline(HTMLParser):
    """Collects what a page consists of, apart from its scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.headings, self.addresses, self._inside = [], "", [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self._inside.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action", "data")]
        if tag in ("h1", "h2", "h3"):
            self.headings.append(int(tag[1]))

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self._inside):
            self.text += data


@pytest.fixture(scope="module")
def page(experiment):
    return write_report(experiment, output=experiment / "report.html").read_text()


def test_the_page_holds_everything_and_refers_to_nothing_outside(page):
    outline = Outline(page)
    assert {address for address in outline.addresses if not address.startswith("#")} == {"data:,"}
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
    assert "cnn1d/seed=2/fold_0" in page
    assert "2 of 3" in page


def test_what_is_not_defined_is_not_a_number(experiment, write_configuration, tmp_path):
    folder = tmp_path / "lone"
    write_configuration(folder, "cnn1d", skill=0.3, folds=(0,))
    predictions = folder / "cnn1d" / "fold_0" / "predictions.csv"
    table = pd.read_csv(predictions)
    table["y_true_NORM"] = 0
    table.to_csv(predictions, index=False)
    text = Outline(write_report(folder, output=tmp_path / "page.html").read_text()).text
    assert "not defined: no positive record" in text
    assert "nan" not in text.lower().split()


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
        '{"methods": {"saliency": {"randomisation": {"passes": false}, "deletion": {"passes": true}, '
        '"insertion": {"passes": true}, "completeness": null, "warnings": ["saliency: do not believe it"]}}}'
    )
    return folder


def test_explained_ecgs_stand_with_what_speaks_against_them(explained, tmp_path):
    (gallery,) = collect_galleries(collect(explained).configurations)
    assert [passes for _, passes in gallery.verdicts] == [False, True, True]
    assert gallery.warnings == ["saliency: do not believe it"]
    assert [caption.split("(")[1].split(")")[0] for caption, _ in gallery.pictures] == [
        "true positive",
        "false negative",
    ]
    page = write_report(explained, output=tmp_path / "page.html").read_text()
    markup = page.partition("<script>")[0]
    assert markup.count("<svg") == 2
    ids = re.findall(r'\bid="([^"]+)"', markup)
    assert len(ids) == len(set(ids))


def test_a_page_that_would_grow_too_large_says_what_it_left_out(explained, tmp_path, monkeypatch):
    monkeypatch.setattr("ecgcls.reporting.gallery.MAX_BYTES", 1000)
    (gallery,) = collect_galleries(collect(explained).configurations)
    assert (len(gallery.pictures), gallery.n_left_out) == (1, 1)
    assert "1 more pictures are left out" in write_report(explained, output=tmp_path / "page.html").read_text()
