"""A page in a headless Chromium."""

from collections.abc import Iterator

import pytest

from saebench_lite.report.leaderboard import leaderboard_text
from tests.helpers.browser import Browser
from tests.helpers.page_records import page_records


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(leaderboard_text(page_records(), "html"))
    return path.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    one = Browser(tmp_path_factory.mktemp("saved"))
    yield one
    one.close()


@pytest.fixture
def at(browser: Browser, page: str):
    """Opens the page with something after `#`; no test may leave an error or a request to elsewhere behind."""

    def show(said: str = "") -> Browser:
        browser.open(f"{page}#{said}")
        return browser

    browser.errors.clear()
    browser.requests.clear()
    browser.resize(1280, 900)
    browser.prefer("light")
    yield show
    assert browser.errors == []
    assert {url.split("#")[0] for url in browser.requests} <= {page, "about:blank"}
