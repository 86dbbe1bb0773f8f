"""Which training instances help and which harm: their influence on held-out risk, at networks that did not see them."""

from refluence.score.crossfit import score_fold, score_model
from refluence.score.folds import assign
from refluence.score.instances import FoldScores, score_rows
from refluence.score.settings import CrossFit

__all__ = ["CrossFit", "FoldScores", "assign", "score_fold", "score_model", "score_rows"]
