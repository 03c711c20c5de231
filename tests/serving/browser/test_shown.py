"""What the page shows of a recording: its result, its ECG, by keyboard, on a phone, in the dark and on paper."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from ecgcls.data.lead_sets import LEADS
from tests.serving.browser.sending import send
from tests.serving.conftest import make_csv, make_stand
from tests.serving.live import listen

WARNING = "Research software, not a medical device."

pytestmark = pytest.mark.slow


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
        "Predicted\ndoubtful ECG",  # a step and no beats
        "Yes",
    ]
    assert rows[1].locator("td").nth(2).inner_text() == "Not stated"
    assert "Not stated: too few validation patients" in page.locator("#classes caption").inner_text()
    assert "Doubtful ECG: do not rely on" in page.locator("#notes").inner_text()
    assert rows[0].locator(".yes").first.evaluate("own => getComputedStyle(own).fontWeight") == "400"
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
