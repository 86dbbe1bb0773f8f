"""The page as people see it: in a headless Chromium, on a desktop and on a phone, in light and in dark."""

import json
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = tuple(
    f"/Applications/{name}.app/Contents/MacOS/{name}" for name in ("Google Chrome", "Chromium", "Google Chrome for Testing")
)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const light = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const part = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map(v => v / 255)
      .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * part[0] + .7152 * part[1] + .0722 * part[2];
  };
  const behind = e => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (colour !== 'rgba(0, 0, 0, 0)') return colour;
    }
    return 'white';
  };
  const seen = [...document.querySelectorAll('h1, h2, h3, p, td, th, dt, dd, summary, small, svg text')]
    .filter(e => e.textContent.trim() && e.getBoundingClientRect().width);
  return seen.map(e => {
    const style = getComputedStyle(e);
    const a = light(e.tagName === 'text' ? style.fill : style.color), b = light(behind(e));
    return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.textContent.trim().slice(0, 40)];
  });
}"""


@pytest.fixture(scope="module")
def chromium():
    path = next(filter(None, map(shutil.which, NAMES)), None) or next((p for p in MAC if Path(p).exists()), None)
    if path is None:
        pytest.skip(f"no Chromium or Chrome found (looked for {', '.join(NAMES)}); on Debian: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; pip install playwright")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium):
    """Open a page; at the end, nothing may have been said on the console and nothing fetched."""
    contexts, complaints, requests = [], [], []

    def opened(folder, width=1200, scheme="light"):
        contexts.append(chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto((folder if folder.suffix == ".html" else folder / "report.html").as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []


KINDS = ["compare", "one seed", "unit", "hundred", "hostile", "terms", "cleaned", "bare", "student", "students"]
KINDS += ["sampled", "sampled sets", "denoiser"]


SIZES = [(kind, width) for kind in KINDS for width in (1200, 390)] + [("compare", 768), ("unit", 768)]


@pytest.mark.parametrize(("kind", "width"), SIZES)
def test_fits_and_decodes(visit, folders, kind, width):
    page = visit(folders[kind], width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.wait_for_function("[...document.images].every(i => i.complete)")
    sizes = page.evaluate("[...document.images].map(i => [i.naturalWidth, i.getBoundingClientRect().width])")
    assert all(natural > 0 and shown >= 16 for natural, shown in sizes), sizes
    assert len(sizes) > 0


@pytest.mark.parametrize("width", [1200, 390])
def test_tables_are_complete_and_one_drawing_of_each_chart_is_seen(visit, folders, width):
    page = visit(folders["compare"], width)
    results = json.loads((folders["compare"] / "results.json").read_text())
    arms = list(dict.fromkeys(row["arm"] for row in results["rows"]))
    assert page.locator("table.verdict tbody th").all_inner_texts() == arms
    cells = page.locator("table.verdict tbody td")
    assert cells.count() == 7 * len(arms)
    assert all(text.strip() for text in cells.all_inner_texts())
    assert all(cells.nth(i).is_visible() for i in range(cells.count()))
    page.get_by_text("Every seed").click()
    assert page.locator("table.seeds tbody tr").count() == len(results["rows"])
    seen = [page.locator(f"svg.{kind}:visible").count() for kind in ("wide", "narrow")]
    assert seen == ([8, 0] if width == 1200 else [0, 8])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["compare", "unit", "terms", "cleaned", "student", "students", "sampled", "sampled sets"])
def test_text_can_be_read(visit, folders, kind, scheme):
    ratios = visit(folders[kind], 1200, scheme).evaluate(CONTRAST)
    assert len(ratios) > 60
    assert [entry for entry in ratios if entry[0] < 4.5] == []


def test_dark_is_dark(visit, folders):
    shades = []
    for scheme in ("light", "dark"):
        page = visit(folders["unit"], 1200, scheme)
        shades.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    light, dark = ([int(v) for v in shade[4:-1].split(",")] for shade in shades)
    assert min(light) > 220
    assert max(dark) < 60


@pytest.mark.parametrize("kind", ["ten", "hundred", "hostile"])
@pytest.mark.parametrize("width", [1200, 390])
def test_scores_fit_and_decode(visit, score_pages, kind, width):
    page = visit(score_pages[kind], width)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.wait_for_function("[...document.images].every(i => i.complete)")
    sizes = page.evaluate("[...document.images].map(i => [i.naturalWidth, i.getBoundingClientRect().width])")
    assert all(natural > 0 and shown >= 16 for natural, shown in sizes), sizes
    assert len(sizes) > 24
    captions = page.evaluate("[...document.querySelectorAll('figcaption')].map(c => [c.scrollWidth, c.clientWidth])")
    assert [c for c in captions if c[0] > c[1] + 1] == [], "captions do not run into each other"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_scores_can_be_read(visit, score_pages, scheme):
    ratios = visit(score_pages["ten"], 1200, scheme).evaluate(CONTRAST.replace("small, svg", "small, figcaption, svg"))
    assert len(ratios) > 100
    assert [entry for entry in ratios if entry[0] < 4.5] == []
