"""The tables of docs/results/iwd.md are those of the rows beside it."""

from recipe_tables import RESULTS, figures, filled

DOCUMENT = (RESULTS / "iwd.md").read_text(encoding="utf-8")


def test_every_table_is_made_of_the_rows():
    assert DOCUMENT.count("<!-- rows: ") == DOCUMENT.count("<!-- end of rows -->") > 3
    assert filled(DOCUMENT, RESULTS / "raw") == DOCUMENT, "python benchmarks/recipe_tables.py writes them anew"
    wrong = DOCUMENT.replace(" of 5 |", " of 6 |")
    assert filled(wrong, RESULTS / "raw") == DOCUMENT != wrong


def test_figures_are_those_that_the_document_shows():
    assert all((RESULTS / path).exists() and data[1:4] == b"PNG" for path, data in figures(DOCUMENT, RESULTS / "raw").items())
