"""The self-contained HTML page: `write` for a run or a comparison, `write_scores` for the scores of a dataset,
`write_recipe` for the table and figure of a recipe, `write_folder` for whatever a folder holds.

`picture_rows` names the instances whose pictures the page can show, so that a run stores only those.
"""

from refluence.report.choose import write_folder
from refluence.report.gallery import picture_rows
from refluence.report.page import write
from refluence.report.recipe import write_recipe
from refluence.report.scores import write_scores

__all__ = ["picture_rows", "write", "write_folder", "write_recipe", "write_scores"]
