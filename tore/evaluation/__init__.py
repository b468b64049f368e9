"""Metrics in millimetres and the evaluator that sums them over processes."""

from tore.evaluation.evaluator import EvaluationResult, Evaluator
from tore.evaluation.metrics import f_scores, mpjpe, pa_mpjpe
from tore.evaluation.protocol import Protocol

__all__ = [
    "EvaluationResult",
    "Evaluator",
    "Protocol",
    "f_scores",
    "mpjpe",
    "pa_mpjpe",
]
