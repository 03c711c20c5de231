"""What is sent to the server by the page: batches, folders, wrong files, and names that nobody should trust."""

import csv
from dataclasses import dataclass
from threading import Semaphore

import numpy as np
import pytest
from playwright.sync_api import expect

from ecgcls.evaluation.recalibration import Calibrator
from tests.serving.browser.sending import send
from tests.serving.conftest import Stand, make_csv, make_stand
from tests.serving.live import listen

EVIL = "<img src=x onerror=alert(1)>"

pytestmark = pytest.mark.slow


@dataclass(frozen=True, eq=False)
class Gated(Stand):
    """Answers no more often than it is allowed to."""

    gate: Semaphore = None

    def apply_nets(self, windows_mv, metadata=None):
        assert self.gate.acquire(timeout=20)
        return super().apply_nets(windows_mv, metadata)


def make_gated():
    stand = make_stand()
    return Gated(**{name: getattr(stand, name) for name in stand.__dataclass_fields__}, gate=Semaphore(0))


def test_a_batch_fills_a_table_and_can_be_canceled(visit, browser):
    predictor = make_gated()
    files = [
        {"name": f"{number:02}.csv", "mimeType": "text/csv", "buffer": make_csv(number / 20)} for number in range(30)
    ]
    with listen(predictor) as address:
        page = visit(address)
        page.set_input_files("#files", files)
        rows, progress = page.locator("#batch-table tbody tr"), page.locator("#progress")
        for n_done in (1, 3):
            predictor.gate.release(1 if n_done == 1 else 2)
            expect(rows).to_have_count(n_done)
            expect(page.locator("#progress-text")).to_have_text(f"{n_done} of 30")
            assert progress.evaluate("bar => [bar.value, bar.max]") == [n_done, 30]
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#progress-text")).to_have_text("Canceled after 3 of 30 records.")
        assert page.locator("#cancel").is_disabled()
        predictor.gate.release(100)
        page.set_input_files("#files", files)
        expect(page.locator("#progress-text")).to_have_text("Done: 30 records.")
        assert rows.count() == 30
        with page.expect_download() as download:
            page.get_by_role("button", name="Download as CSV").click()
        with download.value.path().open(newline="") as file:
            found = list(csv.DictReader(file))
    logits = 10 * np.arange(30) / 20 - 5  # by hand
    expected = 1 / (1 + np.exp(-logits))
    assert [row["record"] for row in found] == [file["name"] for file in files]
    np.testing.assert_allclose([float(row["y_prob_HIGH"]) for row in found], expected, atol=1e-4)
    assert [row["y_pred_HIGH"] for row in found] == [str(int(logit >= 0)) for logit in logits.round(6)]


def test_a_list_marks_what_may_be_no_ecg_and_what_is_not_stated(visit, record, tables):
    page = visit()
    page.set_input_files("#files", [*record, tables[0]])
    expect(page.locator("#progress-text")).to_have_text("Done: 2 records.")
    row = page.locator("#batch-table tbody tr", has_text="step")
    assert row.get_attribute("class") == "doubtful" and "no usable ECG" in row.locator("td").last.inner_text()
    told = row.locator("td").first.inner_text()
    assert told == "Doubtful ECG: HIGH\nAt 10% error: yes: HIGH; not stated: LOW"


def test_numbers_that_round_alike_are_told_apart(visit):
    pairs = [[0.5381, 0.541], [0.5, 0.5], [0.9991, 0.9992], [0.64, 0.54]]
    written = visit().evaluate(
        "pairs => import('./static/dom.js').then(({ formatPair }) => pairs.map((pair) => formatPair(...pair)))", pairs
    )
    assert written == [["0.538", "0.541"], ["0.50", "0.50"], ["0.9991", "0.9992"], ["0.64", "0.54"]]


def test_files_are_dropped_and_folders_chosen(visit, record, tables):
    page = visit()
    contents = [[path.name, path.read_bytes().decode("latin-1")] for path in record]
    page.evaluate(
        """(contents) => {
        const dataTransfer = new DataTransfer();
        for (const [name, text] of contents) {
            dataTransfer.items.add(new File([Uint8Array.from(text, (one) => one.charCodeAt(0))], name));
        }
        document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    }""",
        contents,
    )
    expect(page.locator("#result-heading")).to_have_text("step")
    folder = record[0].parent
    page.set_input_files("#folder", folder)
    expect(page.locator("#status")).to_have_text("Done: 5 records, 1 could not be used.")
    names = page.locator("#batch-table tbody button")
    inside = [f"{folder.name}/{name}" for name in ("step", "tables/a.csv", "tables/b.csv", "tables/c.csv")]
    assert sorted(names.all_text_contents()) == inside
    names.get_by_text(f"{folder.name}/step").click()
    expect(page.locator("#result-heading")).to_have_text(f"{folder.name}/step")


def test_errors_stand_where_they_belong(visit, record, tables):
    page = visit()
    error = page.locator("#send-error")
    send(page, *record)
    big = {"name": "big.xml", "mimeType": "text/xml", "buffer": b"<" * 1_100_000}
    for files, text in (
        ([big], "big.xml: 1.1 MB, at most 1 MB"),
        ([record[0]], "step.dat is missing: send it together with step.hea"),
        ([record[1]], "step.dat: the signals of a WFDB record, without its header"),
        ([tables[3]], "d.csv: no ECG in a known format"),
        (
            [{"name": "s.csv", "mimeType": "text/csv", "buffer": make_csv(duration_s=3)}],
            "s.csv: too short: 3 s, the net needs 10 s",
        ),
    ):
        page.set_input_files("#files", files)
        expect(error).to_contain_text(text)
        assert not page.locator("#result").is_visible()  # what stood there is another's
    page.route("**/api/predict", lambda route: route.abort())
    page.set_input_files("#files", record)
    expect(error).to_contain_text("The server does not answer")
    page.unroute("**/api/predict")
    send(page, *record)
    assert not error.is_visible()
    page.route("**/api/batch", lambda route: route.fulfill(body=route.fetch().body().split(b"\n")[0] + b"\n"))
    page.set_input_files("#files", tables)
    expect(page.locator("#batch-error")).to_have_text("The answer of the server ended too early.")
    assert page.locator("#progress-text").text_content() == "Stopped after 1 of 4 records."
    page.unroute("**/api/batch")
    busy = {"status": 503, "headers": {"Retry-After": "0.1"}, "json": {"error": "busy"}}
    page.route("**/api/batch", lambda route: route.fulfill(**busy), times=2)  # and is asked once more
    page.set_input_files("#files", tables)
    expect(page.locator("#progress-text")).to_have_text("Done: 4 records, 1 could not be used.")
    page.context.unroute_all()


def test_names_run_no_script(visit):
    own = {name: {"method": "none", "slope": 1.0, "intercept": 0.0} for name in (EVIL, "LOW")}
    changed = {
        "class_names": tuple(own),
        "thresholds": dict.fromkeys(own, 0.5),
        "calibrators": (Calibrator("none", own),),
    }
    evil = {"name": f"{EVIL}.csv", "mimeType": "text/csv", "buffer": make_csv()}
    formula = {"name": "=1+1.csv", "mimeType": "text/csv", "buffer": make_csv()}
    with listen(make_stand(**changed), facts={"name": EVIL, "description": EVIL}) as address:
        page = visit(address)
        page.set_input_files("#files", [evil, formula])
        page.locator("#batch-table button", has_text=EVIL).click()
        page.select_option("#explain", EVIL)
        expect(page.locator("#legend")).to_contain_text(f"for {EVIL}")
        assert page.locator("#model").text_content() == EVIL
        assert page.locator("#result-heading").text_content() == f"{EVIL}.csv"
        assert page.locator("img").count() == 0
        with page.expect_download() as download:
            page.locator("#download").click()
        assert "\n'=1+1.csv," in download.value.path().read_text()
