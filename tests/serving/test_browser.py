"""The page in a real browser, before a server whose nets' answer is known (see `conftest.Stand`)."""

import csv
import re
import shutil
from dataclasses import dataclass
from threading import Semaphore

import numpy as np
import pytest
import wfdb
from playwright.sync_api import expect, sync_playwright

from ecgcls.data.lead_sets import LEADS
from ecgcls.evaluation.recalibration import Calibrator
from ecgcls.serving.limits import Limits
from tests.serving.conftest import Stand, make_csv, make_stand
from tests.serving.live import listen

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WARNING = "Research software, not a medical device."
EVIL = "<img src=x onerror=alert(1)>"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to open the page in"),
]


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


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address():
    with listen(make_stand(), limits=Limits(max_upload_mb=1.0)) as address:
        yield address


@pytest.fixture
def visit(browser, address):
    """Open the page of a server; it may ask nobody else, and complain of nothing but what the server refuses."""
    opened = []

    def open_it(where=address, *, width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        page = context.new_page()
        page.set_default_timeout(15_000)
        noticed = []
        page.on("console", lambda message: noticed.append(message.text))
        page.on("pageerror", lambda error: noticed.append(str(error)))
        page.on("dialog", lambda dialog: noticed.append(f"dialog: {dialog.message}"))
        page.on("filechooser", lambda _: None)  # so that none is shown, from the start
        page.on("request", lambda request: request.url.startswith((where, "blob:")) or noticed.append(request.url))
        opened.append((context, noticed))
        page.goto(where)
        page.wait_for_selector("#facts li")
        return page

    yield open_it
    for context, noticed in opened:
        context.close()
        assert [text for text in noticed if not text.startswith("Failed to load resource")] == []


@pytest.fixture
def record(tmp_path):
    """Write 10 s in which lead II alone is 1 mV from 4 to 6 s, as a WFDB record; return its two files."""
    signal = np.zeros((1000, 12), dtype=np.int16)
    signal[400:600, 1] = 1000
    signal[200:210, 6] = 500  # V1 has something, too
    layout = {"fs": 100, "units": ["mV"] * 12, "fmt": ["16"] * 12, "adc_gain": [1000.0] * 12, "baseline": [0] * 12}
    wfdb.wrsamp("step", d_signal=signal, sig_name=list(LEADS), write_dir=str(tmp_path), **layout)
    return [tmp_path / "step.hea", tmp_path / "step.dat"]


@pytest.fixture
def tables(tmp_path):
    """Write three recordings, and one that is none."""
    folder = tmp_path / "tables"
    folder.mkdir()
    for name, height_mv in (("a", 1.0), ("b", 0.2), ("c", 0.6)):
        (folder / f"{name}.csv").write_bytes(make_csv(height_mv))
    (folder / "d.csv").write_text("no ECG\n")
    return sorted(folder.iterdir())


def send(page, *files):
    page.set_input_files("#files", list(files))
    expect(page.locator("#paper svg.ecg-paper")).to_be_visible()


def read_path(page, lead, place):
    """Return a trace as (sample, x and y) in mm."""
    path = page.locator(f"#paper path[data-lead='{lead}']").nth(place).get_attribute("d")
    return np.array([[float(number) for number in point.split()] for point in re.split("[ML]", path)[1:]])


def contrasts(page):
    """Return the contrast of each visible text with what is behind it, by WCAG 2."""
    return page.evaluate(
        """() => {
        const parse = (text) => text.match(/[\\d.]+/g).map(Number);
        const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
            .reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
        const ground = (element) => {
            for (let one = element; one; one = one.parentElement) {
                const color = parse(getComputedStyle(one).backgroundColor);
                if (color.length === 3 || color[3] > 0) return color;
            }
        };
        const texts = [...document.querySelectorAll('body *')].filter((element) => element.checkVisibility()
            && !element.disabled && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
        return texts.map((element) => {
            const style = getComputedStyle(element);
            const ink = element instanceof SVGElement ? style.fill : style.color;
            const [a, b] = [light(parse(ink)), light(ground(element))];
            return [element.textContent.slice(0, 40), (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
        });
    }"""
    )


def test_a_wfdb_record_is_answered_and_drawn_at_its_true_scale(visit, record):
    page = visit()
    send(page, *record)
    assert page.locator("#result-heading").text_content() == "step"
    rows = page.locator("#classes tbody tr").all()
    assert [row.locator("th").text_content() for row in rows] == ["HIGH", "LOW"]
    # by hand: 1 mV in the stretch that counts is a logit of 5, and expit(5) = 0.9933
    assert [cell.strip() for cell in rows[0].inner_text().split("\t")[1:]] == [
        ">0.99 (threshold 0.50)",
        "Predicted",
        "Yes",
    ]
    assert rows[1].locator("td").nth(2).inner_text().startswith("Not stated\ntoo few validation patients")
    assert rows[1].locator(".mark").evaluate("mark => mark.style.left") == "25%"
    assert page.locator("#paper path[data-lead]").count() == 13
    strip = read_path(page, "II", 1)
    high = strip[:, 1] < strip[:, 1].max() - 5
    assert np.ptp(strip[:, 1]) == pytest.approx(10)  # mm of 1 mV
    assert strip[high, 0].tolist() == pytest.approx((10 + 25 * np.arange(400, 600) / 100).tolist(), abs=0.006)
    v1 = read_path(page, "V1", 0)
    assert len(v1) == 250 and v1[0, 0] == pytest.approx(10 + 25 * 5, abs=0.006)  # its quarter begins at 5 s
    assert np.ptp(v1[:, 1]) == 0
    box = page.locator("#paper svg.ecg-paper").evaluate(
        "svg => [svg.clientWidth / svg.clientHeight, svg.viewBox.baseVal.width / svg.viewBox.baseVal.height]"
    )
    assert box[0] == pytest.approx(box[1], rel=0.005)
    assert "25 mm/s, 10 mm/mV" in page.locator("#scale").text_content()
    topics = page.locator("#limits th").all_text_contents()
    assert {"Classes", "Leads and time", "Ages", "Devices", "Populations"} <= {*topics}
    assert "12 leads from second 0 to 10" in page.locator("#ecg-desc").text_content()


def test_the_attribution_lies_where_the_class_depends_on_the_ecg(visit, record):
    page = visit()
    send(page, *record)
    page.select_option("#explain", "HIGH")
    expect(page.locator("#legend")).to_contain_text("change of the logit")
    expect(page.locator("#legend")).to_contain_text("Strongest: II, ")
    strongest = page.locator("#paper rect[fill-opacity='1.00']").all()
    assert strongest and page.locator("#paper rect.against").count() == 0
    for band in strongest:
        left, width = float(band.get_attribute("x")), float(band.get_attribute("width"))
        assert left >= 10 + 25 * 3.5 and left + width <= 10 + 25 * 6.5
    page.select_option("#explain", "LOW")
    expect(page.locator("#legend")).to_contain_text("for LOW")
    assert page.locator("#paper rect.for").count() == 0 < page.locator("#paper rect.against").count()
    page.select_option("#explain", "")
    assert not page.locator("#legend").is_visible()
    assert page.locator("#paper rect").count() == 0


def test_another_error_rate_is_asked_again(visit, tables):
    page = visit()
    send(page, tables[2])  # 0.6 mV: a logit of 1, among those of known records of either kind
    head, cell = (
        page.locator("#classes thead th").last,
        page.locator("#classes tbody tr", has_text="HIGH").locator("td"),
    )
    assert (head.text_content(), cell.last.text_content()) == ("At 10% error", "Yes")
    page.select_option("#rate", "0.05")
    expect(head).to_have_text("At 5% error")
    page.select_option("#rate", "")
    expect(head).to_have_text("Decision")
    assert page.locator("#status").text_content() == "c.csv was predicted again."


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_fits_and_can_be_read(visit, tables, scheme, width):
    page = visit(width=width, color_scheme=scheme)
    page.set_input_files("#files", tables)
    page.locator("#batch-table button", has_text="a.csv").click()
    page.select_option("#explain", "HIGH")
    expect(page.locator("#legend")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("#layout").input_value() == ("standard" if width == 1280 else "rows")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    warning = page.locator(".warning").bounding_box()
    assert warning["y"] == 0 and page.locator(".warning strong").inner_text() == WARNING
    found = contrasts(page)
    assert len(found) > 60
    assert {text: contrast for text, contrast in found if contrast < 4.5} == {}


def test_it_works_by_keyboard_alone(visit, tables):
    page = visit()

    def press(*keys):
        for key in keys:
            page.keyboard.press(key)
        return page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")

    assert press("Tab") == "Skip to the ECG"
    assert press("Enter") == "main"
    assert press("Tab") == "files"
    is_seen = "getComputedStyle(document.querySelector('label:focus-within')).outlineStyle"
    assert page.evaluate(is_seen) == "solid"
    with page.expect_file_chooser() as chooser:
        press("Enter")
    chooser.value.set_files(tables)
    expect(page.locator("#status")).to_have_text("Done: 4 records, 1 could not be used.")
    assert page.evaluate("document.activeElement.id") == "batch-heading"
    assert press("Tab") == "download"
    assert press("Tab", "Tab") == "a.csv"
    press("Enter")
    expect(page.locator("#result-heading")).to_have_text("a.csv")
    expect(page.locator("#result-heading")).to_be_focused()
    assert press("Tab") == "Back to the records"
    order = [press("Tab") for _ in range(5)]
    assert order[1:] == ["layout", "zoom", "explain", "paper"]
    press("Shift+Tab", "H")
    expect(page.locator("#legend")).to_contain_text("for HIGH")


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
    for files, text in (
        ([record[1]], "step.dat: the signals of a WFDB record, without its header"),
        ([tables[3]], "d.csv: no ECG in a known format"),
        ([{"name": "big.xml", "mimeType": "text/xml", "buffer": b"<" * 1_100_000}], "big.xml: 1.1 MB, at most 1 MB"),
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


def test_a_long_recording_is_shown_in_parts(visit):
    page = visit()
    buffer = make_csv(duration_s=95, leads=LEADS)
    send(page, {"name": "long.csv", "mimeType": "text/csv", "buffer": buffer})
    assert page.locator("#windows-summary").text_content() == "Probabilities of each of 10 windows"
    page.focus("#time")
    for key, shown in (("ArrowRight", "1 to 11 s"), ("End", "85 to 95 s"), ("Home", "0 to 10 s")):
        page.keyboard.press(key)
        expect(page.locator("#time-shown")).to_have_text(shown)
    page.locator("#windows-summary").click()
    page.locator("#windows-table button", has_text="60 to 70 s").click()
    expect(page.locator("#ecg-desc")).to_contain_text("from second 60 to 70")
    page.select_option("#explain", "HIGH")  # which is most probable at the start
    expect(page.locator("#ecg-desc")).to_contain_text("from second 0 to 10")


def test_only_what_the_nets_take_is_asked_of_the_patient(visit, tables):
    assert not visit().locator("#patient").is_visible()
    with listen(make_stand(metadata_names=("age", "sex"))) as address:
        page = visit(address)
        page.get_by_label("Age (years)").fill("2")
        page.get_by_label("Sex").select_option("female")
        send(page, tables[2])
        assert "age 2; sex female" in page.locator("#source").text_content()
        # by hand: the logit of 0.6 mV is 1, and that of `Stand` rises by the age; expit(3) = 0.9526
        assert "0.95" in page.locator("#classes tbody tr", has_text="HIGH").inner_text()
        page.get_by_label("Age (years)").fill("200")
        page.keyboard.press("Tab")
        expect(page.locator("#send-error")).to_contain_text("Age (years)")


def test_it_prints_light_and_with_its_warning(visit, record, tmp_path):
    page = visit(color_scheme="dark")
    send(page, *record)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator(".warning").is_visible() and page.locator("#paper svg.ecg-paper").is_visible()
    assert not page.locator("#send").is_visible() and not page.locator("#layout").is_visible()
    # its true scale: 260 mm at 96 dots per inch
    assert page.locator("#paper svg.ecg-paper").bounding_box()["width"] == pytest.approx(260 / 25.4 * 96, abs=1)
    assert len(page.pdf(path=tmp_path / "page.pdf", prefer_css_page_size=True)) > 10_000
