"""Chromium, before a server whose nets' answer is known (see `tests.serving.conftest.Stand`)."""

import shutil

import numpy as np
import pytest
import wfdb
from playwright.sync_api import sync_playwright

from ecgcls.data.lead_sets import LEADS
from ecgcls.serving.limits import Limits
from tests.serving.conftest import make_csv, make_stand
from tests.serving.live import listen

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no Chromium to open the page in")
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
