"""Named protocols: what a network trained on a small set is worth."""

from refluence.evaluate.evaluation import Evaluation, evaluate
from refluence.evaluate.measure import Scores, score
from refluence.evaluate.protocols import Protocol, protocols
from refluence.evaluate.statistics import summarise, verdict
from refluence.evaluate.train import train

__all__ = ["Evaluation", "Protocol", "Scores", "evaluate", "protocols", "score", "summarise", "train", "verdict"]
