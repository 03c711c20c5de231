"""The report in a real browser: it renders, its tables sort, its legend toggles, and it asks nobody for anything."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

from ecgcls.reporting.page import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to open the report in")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(experiment):
    return write_report(experiment, output=experiment / "report.html").resolve().as_uri()


@pytest.fixture
def open_page(browser, address):
    """Open the report; afterwards nothing may have been requested or complained about."""
    contexts, requests, complaints = [], [], []

    def open_it(**options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#chart-val-pr .main-svg")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert set(requests) == {address}
    assert complaints == []


def shown(page, chart):
    """Return model, class and visibility of each trace of a chart."""
    return page.evaluate(
        f"document.getElementById('chart-{chart}').data.map(t => [t.meta.model, t.meta.class, t.visible])"
    )


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_it_renders_without_scrolling_sideways(open_page, width, height):
    page = open_page(viewport={"width": width, "height": height})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for chart in ("pr", "roc", "reliability", "loss", "val-loss", "val-pr"):
        assert page.locator(f"#chart-{chart} .scatterlayer .trace").count() >= 2
    assert page.locator("canvas").count() == 0  # vector graphics only


def test_a_table_sorts_by_click_and_by_key(open_page):
    page = open_page()
    names = page.locator("#leaderboard tbody th")
    assert [name.strip() for name in names.all_text_contents()] == ["cnn2d", "cnn1d seed=1"]
    parameters = page.get_by_role("button", name="Parameters")
    parameters.click()
    assert [name.strip() for name in names.all_text_contents()] == ["cnn1d seed=1", "cnn2d"]  # 1234, then 99
    assert page.locator("#leaderboard th[aria-sort]").all_text_contents() == ["Parameters"]
    parameters.press("Enter")
    assert page.locator("#leaderboard th[aria-sort=ascending]").count() == 1
    assert [name.strip() for name in names.all_text_contents()] == ["cnn2d", "cnn1d seed=1"]


def test_numbers_sort_as_numbers(open_page):
    page = open_page()
    page.locator("#classes").get_by_role("button", name="Positives").click()
    cells = page.locator("#classes tbody tr td:nth-child(3)").all_text_contents()
    counts = [int(cell) for cell in cells]
    assert counts == sorted(counts, reverse=True)


def test_the_legend_toggles_a_model_in_every_chart(open_page):
    page = open_page()
    button = page.locator("button.model").nth(1)
    button.focus()
    page.keyboard.press("Space")
    assert button.get_attribute("aria-pressed") == "false"
    for chart in ("pr", "roc", "reliability", "loss", "val-pr"):
        traces = shown(page, chart)
        assert {visible for model, _, visible in traces if model == 1} == {False}
        assert any(visible for model, _, visible in traces if model == 0)
    button.click()
    assert any(visible for model, _, visible in shown(page, "roc") if model == 1)


def test_the_class_selector_changes_the_curves(open_page):
    page = open_page()
    assert {column for model, column, visible in shown(page, "pr") if visible} == {0}
    page.select_option("#class", "2")
    for chart in ("pr", "roc", "reliability"):
        assert {column for model, column, visible in shown(page, chart) if visible and model >= 0} == {2}
    assert all(visible for _, _, visible in shown(page, "loss"))


def test_dark_and_light_follow_the_system_and_the_button(open_page):
    def ground(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    def ink(page):
        return page.evaluate("document.getElementById('chart-pr').layout.font.color")

    light, dark = open_page(color_scheme="light"), open_page(color_scheme="dark")
    assert ground(light) == "rgb(255, 255, 255)"
    assert ground(dark) != ground(light)
    assert ink(dark) != ink(light)
    was = ink(dark)
    dark.locator("#theme").click()
    assert (ground(dark), ink(dark)) == (ground(light), ink(light))
    assert was != ink(dark)


def test_it_prints_open_and_light(open_page, tmp_path):
    page = open_page(color_scheme="dark")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert len(page.pdf(path=tmp_path / "page.pdf")) > 50_000


def test_everything_that_can_be_pressed_has_a_name(open_page):
    page = open_page()
    for role in ("button", "combobox", "link"):
        for element in page.get_by_role(role).all():
            assert (
                element.evaluate("e => (e.textContent || e.getAttribute('aria-label') || '').trim()")
                or role != "button"
            )
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
