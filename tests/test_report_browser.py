"""The report in a real browser: it opens silently, is read by keyboard, and fits a phone."""

from __future__ import annotations

import contextlib
import functools
import http.server
import itertools
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from latentcy.core.verdict import Verdict
from latentcy.report.html import write_report
from report_run import record, trend, write_images, write_large_run, write_run

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed, which drives the browser"
)

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = ("background-networking", "component-update", "sync", "gpu", "default-apps")
HOSTILE = "<script>window.hacked=1</script>\"'<img src=x onerror=window.hacked=1><b>bold</b>" * 3


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """Chromium without a window."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium was found (" + ", ".join(NAMES) + ")")
    flags = ["--no-sandbox", "--no-first-run", *(f"--disable-{one}" for one in QUIET)]
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with two failures, 10 cases and 12 prompts."""
    folder = tmp_path_factory.mktemp("run")
    write_large_run(folder, cases=10, prompts=12)
    return write_report(folder, folder / "report", trend=trend())


@contextlib.contextmanager
def opened(browser, path: Path | str, *, width=1280, dark=False, **options) -> Iterator:
    """The page in a tab of its own; what it complains of and asks for is kept beside it."""
    context = browser.new_context(
        viewport={"width": width, "height": 800},
        color_scheme="dark" if dark else "light",
        **options,
    )
    page = context.new_page()
    page.complaints, page.requests = [], []
    page.on("console", lambda one: page.complaints.append(one.text))
    page.on("pageerror", lambda one: page.complaints.append(str(one)))
    page.on("request", lambda one: page.requests.append(one.url))
    page.goto(path.as_uri() if isinstance(path, Path) else path)
    try:
        yield page
    finally:
        context.close()


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder over HTTP on loopback."""

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Says nothing."""

    handler = functools.partial(Silent, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def fetched(page) -> list[str]:
    return [url for url in page.requests if not url.startswith("data:")]


def colour(page, selector: str, name: str) -> str:
    script = "([selector, name]) => getComputedStyle(document.querySelector(selector))[name]"
    return page.evaluate(script, [selector, name])


def plots(page) -> list[str]:
    """Names of the plots that are drawn."""
    script = "all => all.filter(one => one.querySelector('.main-svg')).map(one => one.dataset.plot)"
    return page.eval_on_selector_all("[data-plot]", script)


def test_a_file_opens_without_a_complaint_and_asks_for_nothing_else(browser, report):
    with opened(browser, report) as page:
        expected = ["ratio", "seconds", "quality-ssim", "quality-clip", "stages", "memory"]
        assert plots(page) == [*expected, "trend-0"]
        assert page.complaints == []
        assert fetched(page) == [report.as_uri()]


def test_over_http_it_opens_as_well(browser, report):
    with served(report.parent) as host, opened(browser, f"{host}/report.html") as page:
        assert len(plots(page)) == 7
        assert page.complaints == []
        assert fetched(page) == [f"{host}/report.html"]


def test_every_pair_is_a_point_in_the_plot(browser, report):
    with opened(browser, report) as page:
        first = page.locator("#plot-ratio .scatterlayer .trace").first
        assert first.locator(".point").count() == 10 * 20


def test_a_run_without_records_or_images_opens_without_a_complaint(browser, tmp_path):
    write_run(tmp_path, [])
    with opened(browser, write_report(tmp_path, tmp_path)) as page:
        assert page.complaints == []
        assert "Inconclusive" in page.inner_text("h1")


def test_the_theme_is_the_systems_until_another_is_chosen_and_plots_follow(browser, report):
    with opened(browser, report, dark=True) as page:
        dark = colour(page, "body", "backgroundColor"), colour(page, "#plot-ratio text", "fill")
        page.click("#theme")
        page.wait_for_function(
            "old => getComputedStyle(document.querySelector('#plot-ratio text')).fill !== old",
            arg=dark[1],
        )
        light = colour(page, "body", "backgroundColor"), colour(page, "#plot-ratio text", "fill")
        assert light[0] != dark[0]
        assert page.inner_text("#theme") == "Dark theme"
        page.reload()
        assert colour(page, "body", "backgroundColor") == light[0]
        assert page.complaints == []


@pytest.mark.parametrize("width", [360, 768])
def test_on_a_phone_the_page_itself_never_scrolls_sideways(browser, report, width):
    with opened(browser, report, width=width) as page:
        page.click("#all-reasons")
        page.click("#all-prompts")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_hostile_names_run_nothing_and_are_read_as_they_stand(browser, tmp_path):
    bad = record(2, variant=HOSTILE, verdicts=(Verdict("SSIM", "failed", HOSTILE),), ssim=0.5)
    write_run(tmp_path, [bad, record(3)], prompts=[HOSTILE] * 2)
    write_images(tmp_path, "precision-bf16", 2)
    with opened(browser, write_report(tmp_path, tmp_path), width=360) as page:
        assert page.evaluate("window.hacked") is None
        assert page.complaints == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert HOSTILE[:19] in page.locator("#plot-ratio .yaxislayer-above").text_content()
        page.locator(".tile").first.click()
        assert HOSTILE in page.locator("#viewer-title").text_content()
        assert page.evaluate("window.hacked") is None


def test_the_first_key_leads_past_the_header(browser, report):
    with opened(browser, report) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"


def test_whatever_can_be_clicked_can_be_reached_and_has_a_name(browser, report):
    with opened(browser, report) as page:
        script = """all => all.filter(one => !(one.textContent.trim() ||
            one.getAttribute('aria-label'))).length"""
        assert page.eval_on_selector_all("button, a, select, summary", script) == 0
        assert page.locator("[onclick], div[role=button]").count() == 0
        levels = page.eval_on_selector_all(
            "main h1, main h2, main h3, main h4", "all => all.map(one => +one.tagName[1])"
        )
        steps = [later - earlier for earlier, later in itertools.pairwise(levels)]
        assert levels[0] == 1
        assert max(steps) == 1


def test_every_status_is_a_shape_and_a_word(browser, report):
    with opened(browser, report) as page:
        script = """all => all.map(one => [one.querySelector('use').getAttribute('href'),
            one.textContent.trim()])"""
        pairs = page.eval_on_selector_all(".status", script)
        assert {word for _, word in pairs} == {"passed", "failed", "inconclusive"}
        assert all(shape == f"#icon-{word}" for shape, word in pairs)


def test_a_cases_reasons_open_by_keyboard(browser, report):
    with opened(browser, report) as page:
        button = page.locator(".opens").first
        reasons = page.locator("#" + button.get_attribute("aria-controls"))
        assert not reasons.is_visible()
        button.focus()
        page.keyboard.press("Enter")
        assert reasons.is_visible()
        assert button.get_attribute("aria-expanded") == "true"
        assert "below the floor of 0.98" in reasons.inner_text()


def test_a_failures_images_are_enlarged_and_left_by_keyboard(browser, report):
    with opened(browser, report) as page:
        triples = page.locator(".triple")
        assert triples.count() == 2 * 3
        triples.first.focus()
        page.keyboard.press("Enter")
        viewer, title = page.locator("#viewer"), page.locator("#viewer-title")
        assert viewer.is_visible()
        assert viewer.locator("img").count() == 3
        wide = "all => all.every(one => one.complete && one.naturalWidth > 1)"
        assert page.eval_on_selector_all("#viewer img", wide)
        first = title.inner_text()
        page.keyboard.press("ArrowRight")
        assert title.inner_text() != first
        page.keyboard.press("ArrowLeft")
        assert title.inner_text() == first
        page.keyboard.press("Escape")
        assert not viewer.is_visible()
        assert page.evaluate("document.activeElement.classList.contains('triple')")


def test_an_image_of_the_grid_opens_beside_its_reference_and_arrows_move(browser, report):
    with opened(browser, report) as page:
        page.locator('.tile[data-c="3"][data-p="0"]').click()
        title = page.locator("#viewer-title")
        assert title.inner_text().startswith("precision/bf16, prompt 1:")
        captions = page.locator("#viewer .of").all_inner_texts()
        assert captions == ["reference, precision/baseline", "precision/bf16"]
        page.keyboard.press("ArrowDown")
        assert title.inner_text().startswith("precision/bf16, prompt 2:")
        page.keyboard.press("ArrowRight")
        assert title.inner_text().startswith("precision/combined, prompt 2:")
        picture = "getComputedStyle(document.querySelector('#viewer .pic')).backgroundImage"
        assert page.evaluate(picture).startswith('url("data:image/')


def test_the_first_prompts_are_shown_and_the_rest_when_asked_for(browser, report):
    with opened(browser, report) as page:
        shown = page.locator(".prompt-row:visible")
        assert shown.count() == 8
        page.click("#all-prompts")
        assert shown.count() == 12


def test_the_trend_shows_the_series_that_is_chosen(browser, report):
    with opened(browser, report) as page:
        assert page.locator(".series:visible h3").inner_text() == "sd15/precision/fp16: latency"
        page.select_option("#series", "trend-1")
        assert page.locator(".series:visible h3").inner_text() == "sd15/precision/bf16: memory"
        assert page.locator("#plot-trend-1 .main-svg").count() > 0
        assert page.complaints == []


def test_without_scripts_reasons_images_and_figures_are_all_there(browser, report):
    with opened(browser, report, java_script_enabled=False) as page:
        assert page.locator(".why:visible").count() == 10
        assert page.locator(".prompt-row:visible").count() == 12
        assert "needs JavaScript" in page.inner_text("main")
        assert page.locator("button.quiet:visible").count() == 0


def test_on_paper_every_reason_stands_and_nothing_to_click(browser, report):
    with opened(browser, report, dark=True) as page:
        page.emulate_media(media="print")
        assert page.locator(".why:visible").count() == 10
        assert page.locator("nav:visible, .quiet:visible").count() == 0
        assert colour(page, "body", "backgroundColor") == "rgb(255, 255, 255)"
