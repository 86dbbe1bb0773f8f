"""The tables of docs/results/iwd.md and clean.md are those of the rows beside them."""

import io
import re

from PIL import Image
from recipe_tables import RESULTS, figures, filled

GALLERY = "figures/fig5.png"  # drawn from distilled sets, which are not kept here, not from rows
DOCUMENT = (RESULTS / "iwd.md").read_text(encoding="utf-8")


def test_every_table_is_made_of_the_rows():
    assert DOCUMENT.count("<!-- rows: ") == DOCUMENT.count("<!-- end of rows -->") > 3
    assert filled(DOCUMENT, RESULTS / "raw") == DOCUMENT, "python benchmarks/recipe_tables.py writes them anew"
    wrong = DOCUMENT.replace(" of 5 |", " of 6 |")
    assert filled(wrong, RESULTS / "raw") == DOCUMENT != wrong


def test_tables_of_cleaning_are_made_of_the_rows_that_are_there(tmp_path):
    page = (RESULTS / "clean.md").read_text(encoding="utf-8")
    assert page.count("<!-- rows: ") == page.count("<!-- end of rows -->") == 2
    assert filled(page, RESULTS / "raw") == page, "python benchmarks/recipe_tables.py writes them anew"
    assert (filled(page, tmp_path), figures(page, tmp_path)) == (page, {})


def test_figures_are_those_that_the_document_shows():
    drawn = figures(DOCUMENT, RESULTS / "raw")
    assert set(drawn) == set(re.findall(r"\((figures/.*?)\)", DOCUMENT)) - {GALLERY}
    for path, data in drawn.items():  # fonts differ between machines: what is drawn has at least its size
        sizes = [Image.open(picture).size for picture in (RESULTS / path, io.BytesIO(data))]
        assert all(abs(a - b) < 0.1 * b for a, b in zip(*sizes, strict=True)), path
