"""The report in a real browser: it renders, its tables sort, its legend toggles, and it asks nobody for anything."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

from ecgcls.reporting.experiment import collect
from ecgcls.reporting.page import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
CHARTS = ("pr", "roc", "reliability", "loss", "val-loss", "val-pr")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium to open the report in")


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_page(browser, experiment):
    """Open the report; what it requests and complains about is kept beside it."""
    address = write_report(experiment, output=experiment / "report.html").resolve().as_uri()
    contexts = []

    def open_it(**options):
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        noticed = []
        page.on("request", lambda request: noticed.append(request.url))
        page.on("console", lambda message: noticed.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: noticed.append(str(error)))
        page.goto(address)
        page.wait_for_selector("#chart-val-pr .main-svg")
        return page, noticed, [address]

    yield open_it
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def opened(open_page):
    return open_page(color_scheme="light", permissions=["clipboard-read", "clipboard-write"])


@pytest.fixture(scope="module")
def opened_dark(open_page):
    return open_page(color_scheme="dark")


@pytest.fixture
def page(opened):
    """The report with its first class and all models shown; it may ask for nothing but itself, and not complain."""
    page, noticed, expected = opened
    page.select_option("#class", "0")
    for button in page.locator("button.model[aria-pressed=false]").all():
        button.click()
    yield page
    assert noticed == expected


@pytest.fixture
def dark(opened_dark):
    page, noticed, expected = opened_dark
    yield page
    assert noticed == expected


def shown(page, chart):
    """Return model, class and visibility of each trace of a chart."""
    return page.evaluate(
        f"document.getElementById('chart-{chart}').data.map(t => [t.meta.model, t.meta.class, t.visible])"
    )


def test_the_charts_are_there_as_vector_graphics(page):
    for chart in CHARTS:
        assert page.locator(f"#chart-{chart} .scatterlayer .trace").count() >= 2
    assert page.locator("canvas").count() == 0


@pytest.mark.parametrize("width", [1280, 390, 360])
def test_the_page_never_scrolls_sideways(page, width):
    page.set_viewport_size({"width": width, "height": 800})
    charts_fit = f"""new Promise((resolve) => {{
        const end = performance.now() + 10000;
        const fits = (chart) => chart.getBoundingClientRect().right <= {width};
        const look = () => {{
            const fit = [...document.querySelectorAll('.chart .main-svg')].every(fits);
            if (fit || performance.now() > end) resolve(fit); else requestAnimationFrame(look);
        }};
        look();
    }})"""  # they are drawn again a moment after the window's size has changed
    assert page.evaluate(charts_fit)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.set_viewport_size({"width": 1280, "height": 900})


@pytest.mark.slow
def test_a_long_name_leaves_room_for_the_numbers_on_a_phone(browser, tmp_path, write_configuration):
    """The first column stays in place while a table scrolls: what it covers cannot be reached."""
    write_configuration(tmp_path / "long", "cnn1d", f"optimizer.{'weight_decay' * 6}=0.0001")
    write_configuration(tmp_path / "long", "cnn2d", skill=0.3)
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(write_report(tmp_path / "long", output=tmp_path / "page.html").as_uri())
    names = """(table) => [...document.querySelectorAll(`${table} tbody tr:not([hidden]) .name`)].map(
        (cell) => cell.parentElement.offsetWidth / cell.closest('.scroll').clientWidth)"""
    for table in ("#leaderboard", "#classes", "#numbers", "#best-epochs"):
        shares = page.evaluate(names, table)
        assert len(shares) >= 2
        assert max(shares) <= 0.5
    page.close()


def test_a_table_sorts_by_click_and_by_key(page):
    """cnn1d has 1234 parameters, cnn2d 99, and the run that has only begun has none."""

    def order():
        return [name.strip() for name in page.locator("#leaderboard tbody th").all_text_contents()]

    assert order() == ["cnn2d", "cnn1d seed=1", "cnn1d seed=2"]
    parameters = page.get_by_role("button", name="Parameters", exact=True)
    parameters.click()
    assert order() == ["cnn1d seed=1", "cnn2d", "cnn1d seed=2"]
    assert page.locator("#leaderboard th[aria-sort]").all_text_contents() == ["Parameters"]
    parameters.press("Enter")
    assert page.locator("#leaderboard th[aria-sort=ascending]").count() == 1
    assert order() == ["cnn2d", "cnn1d seed=1", "cnn1d seed=2"]
    page.locator("#leaderboard").get_by_role("button", name="Model", exact=True).press("Space")
    assert order() == ["cnn1d seed=1", "cnn1d seed=2", "cnn2d"]


def test_numbers_sort_as_numbers(page, experiment):
    found = collect(experiment)
    for title, column, key in (("Positives", 3, "n_positive"), ("ROC-AUC", 6, "roc_auc")):
        page.locator("#classes").get_by_role("button", name=title, exact=True).click()
        cells = page.locator(f"#classes tbody tr td:nth-child({column})").all_text_contents()
        expected = sorted((value for one in found.configurations for value in one.scores.by_class[key]), reverse=True)
        assert [float(cell) for cell in cells] == pytest.approx(expected, abs=5e-4)


def test_the_legend_toggles_a_model_in_every_chart(page):
    button = page.locator("button.model").nth(1)
    button.focus()
    page.keyboard.press("Space")
    assert button.get_attribute("aria-pressed") == "false"
    for chart in CHARTS:
        traces = shown(page, chart)
        assert {visible for model, _, visible in traces if model == 1} == {False}
        assert any(visible for model, _, visible in traces if model == 0)
    assert page.locator("#numbers tbody tr:visible th").all_text_contents() == ["cnn2d"]
    assert page.locator("#shown").text_content() == "NORM: 1 of 2 models shown"
    button.click()
    assert any(visible for model, _, visible in shown(page, "roc") if model == 1)


def test_the_class_selector_changes_the_curves_and_their_numbers(page):
    assert {column for model, column, visible in shown(page, "pr") if visible} == {0}
    page.select_option("#class", "2")
    for chart in ("pr", "roc", "reliability"):
        assert {column for model, column, visible in shown(page, chart) if visible and model >= 0} == {2}
    assert all(visible for _, _, visible in shown(page, "loss"))
    name = "<b>&\"HYP'"
    assert page.locator("figcaption .chosen").all_text_contents() == [name] * 3
    assert page.locator("#numbers tbody tr:visible td:nth-child(2)").all_text_contents() == [name] * 2


def test_dark_and_light_follow_the_system_and_the_button(page, dark):
    def colors(page):
        """Return those of the ground and of the charts' text."""
        return page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, document.getElementById('chart-pr').layout.font.color]"
        )

    light_ground, light_ink = colors(page)
    assert light_ground == "rgb(255, 255, 255)"
    dark_ground, dark_ink = colors(dark)
    assert dark_ground != light_ground
    assert dark_ink != light_ink
    dark.locator("#theme").click()
    assert colors(dark) == [light_ground, light_ink]
    dark.locator("#theme").click()
    assert colors(dark) == [dark_ground, dark_ink]


def test_it_prints_open_and_light(dark, tmp_path):
    width = "document.querySelector('#chart-pr .main-svg').clientWidth"
    was = dark.evaluate(width)
    dark.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    dark.emulate_media(media="print")
    assert dark.locator("details:not([open])").count() == 0
    assert dark.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for selector in ("nav", "#theme", ".copy button"):
        assert not dark.locator(selector).first.is_visible()
    assert dark.evaluate(width) == 226  # three on a sheet
    dark.emulate_media(media="screen")
    dark.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert dark.locator("details:not([open])").count() > 0
    assert dark.evaluate("document.documentElement.dataset.theme") == "dark"
    assert dark.evaluate(width) == was
    assert len(dark.pdf(path=tmp_path / "page.pdf")) > 50_000


def test_the_skip_link_comes_first_and_everything_has_a_name(page):
    first = page.locator("a, button, select, summary, [tabindex]").first
    assert first.get_attribute("class") == "skip"
    first.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    nameless = """[...document.querySelectorAll('button, a, select, [role=region], [role=img]')].filter(element =>
        !element.textContent.trim() && !element.getAttribute('aria-label') && !element.labels?.length
        && !element.getAttribute('aria-labelledby')).length"""
    assert page.evaluate(nameless) == 0
    described = "[...document.querySelectorAll('[aria-describedby]')].map(e => e.getAttribute('aria-describedby'))"
    assert all(page.locator(f"table#{name}").count() == 1 for name in page.evaluate(described))


def test_a_copied_configuration_is_the_runs_own(page, experiment):
    page.locator("#configuration summary").first.click()
    page.get_by_role("button", name="Copy the configuration of cnn2d").click()
    page.get_by_role("button", name="Copied the configuration of cnn2d").wait_for()
    run = collect(experiment).configurations[0].runs[0]
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == (run.path / ".hydra" / "config.yaml").read_text().strip()


@pytest.mark.slow
def test_names_that_users_choose_run_no_script(browser, tmp_path, write_configuration, write_unfinished):
    bad = "</script><script>document.title='broken'</script>\"'><img src=x onerror=\"document.title='broken'\">"
    folder = tmp_path / "\"><script>document.title='broken'"
    write_configuration(folder, "cnn1d", info={"model": f"cnn1d{bad}", "variant": f"lr={bad}", "command": [bad]})
    write_configuration(folder, "cnn2d", info={"variant": "%{x}"})
    write_unfinished(folder / "cnn3d" / "fold_0", status="failed", error=bad, model=bad, variant=bad)
    page = browser.new_page()
    page.goto(write_report(folder, output=tmp_path / "page.html").as_uri())
    page.wait_for_selector("#chart-val-pr .main-svg")
    page.evaluate("Plotly.Fx.hover('chart-pr', [{curveNumber: 0, pointNumber: 1}])")
    page.wait_for_selector("#chart-pr .hovertext", timeout=10_000)
    assert page.title() == f"{folder.name}: ecgcls report"
    assert page.locator("h1").text_content() == folder.name
    assert page.locator("img").count() == 0
    assert page.locator("button.model", has_text="onerror").count() == 1
    page.close()
