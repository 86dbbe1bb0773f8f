"""Named protocols: what a network trained on a small set is worth."""

from refluence.evaluate.evaluation import Evaluation, evaluate, evaluate_set
from refluence.evaluate.measure import Scores, score
from refluence.evaluate.paired import summarise
from refluence.evaluate.protocol import Protocol
from refluence.evaluate.protocols import protocols
from refluence.evaluate.robust import augmentation_robust_score, label_robust_score
from refluence.evaluate.train import train
from refluence.evaluate.verdict import verdict

__all__ = [
    "Evaluation",
    "Protocol",
    "Scores",
    "augmentation_robust_score",
    "evaluate",
    "evaluate_set",
    "label_robust_score",
    "protocols",
    "score",
    "summarise",
    "train",
    "verdict",
]
