"""Finding people and hands in images: MoveNet, MediaPipe, torchvision's detectors, and functions of the user's."""

from tore.detection.choice import DETECTORS, detector_of
from tore.detection.hands import HandPlacer, PalmDetector
from tore.detection.movenet import MoveNetDetector
from tore_runtime.detector import Detection, Detector, Found, find, hands_of, people_wanted

__all__ = [
    "DETECTORS",
    "Detection",
    "Detector",
    "Found",
    "HandPlacer",
    "MoveNetDetector",
    "PalmDetector",
    "detector_of",
    "find",
    "hands_of",
    "people_wanted",
]
