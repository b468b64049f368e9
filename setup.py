"""Installs `tore` and, beside it, `tore_runtime`, which needs no torch, and the stand-alone MANO layer `manopth`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
REQUIREMENTS = [
    line for line in (ROOT / "requirements.txt").read_text().splitlines() if line and not line.startswith("#")
]
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "tore_runtime" / "__init__.py").read_text(encoding="utf-8"))[1]
RENDER = ["matplotlib>=3.7"]
SYNTHETIC = ["embreex>=2.17.7"]
FAST = ["onnx>=1.18", "onnxscript>=0.5", "openvino>=2025.2"]
EXPORT = [*FAST, "onnxruntime>=1.21"]
TESTS = ["pytest>=8.0", "pytest-xdist>=3.6", "ruff>=0.6", "mypy>=1.11", "types-PyYAML", "types-tqdm"]
DOCS = ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.26"]

setup(
    name="tore",
    version=VERSION,
    description="Token reduction for efficient human mesh recovery with Transformers",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["tore", "tore.*", "tore_runtime", "manopth"]),
    package_data={
        "tore_runtime": ["py.typed"],
        "tore": [
            "py.typed",
            "export/*.mjs",
            "export/web/*",
            "inference/data/*.jpg",
            "modeling/data/README.md",
            "modeling/shipped/*.safetensors",
            "synthetic/data/*.npz",
            "synthetic/data/people/*",
            "visualize/page/*",
        ],
    },
    install_requires=REQUIREMENTS,
    extras_require={
        "render": RENDER,
        "synthetic": SYNTHETIC + RENDER,
        "fast": FAST,
        "export": EXPORT,
        "docs": DOCS,
        "dev": SYNTHETIC + RENDER + EXPORT + TESTS,
    },
    entry_points={"console_scripts": ["tore = tore.cli:main", "tore-infer = tore_runtime.cli:main"]},
)
