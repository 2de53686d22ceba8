"""What tests of the page in a browser look for."""

from tests.helpers.browser import Browser

VIEWS = ("table", "scatter", "units", "curve", "density", "compare")
AUROC = "sparse_probing@1/auroc_k1"


def rows(browser: Browser) -> list[str]:
    return browser.texts(".board tbody .name")
