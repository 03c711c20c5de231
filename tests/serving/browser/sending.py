"""A recording, given to the page."""

from playwright.sync_api import expect


def send(page, *files):
    page.set_input_files("#files", list(files))
    expect(page.locator("#paper svg.ecg-paper")).to_be_visible()
