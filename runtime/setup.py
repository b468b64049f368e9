"""Builds `tore-runtime`, the part of this repository that runs exported networks without torch: pip install ./runtime.

It is the package tore_runtime of the distribution `tore` by itself; one of the two is installed, not both. The networks
that `tore export people --output_dir tore_runtime/networks` makes before become a part of it.
"""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "tore_runtime"
VERSION = re.search(r'__version__ = "(.+)"', (PACKAGE / "__init__.py").read_text(encoding="utf-8"))[1]

setup(
    name="tore-runtime",
    version=VERSION,
    description="Human mesh recovery by exported networks: numpy, OpenCV and onnxruntime, no torch",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=["tore_runtime"],
    package_dir={"tore_runtime": "../tore_runtime"},
    package_data={"tore_runtime": ["py.typed", "networks/*/*"]},
    install_requires=[
        "numpy>=1.26",
        "onnxruntime>=1.21",
        "opencv-python-headless>=4.8",
        "Pillow>=10.0",
        "trimesh>=4.0",
    ],
    extras_require={"openvino": ["openvino>=2025.2"]},
    entry_points={"console_scripts": ["tore-infer = tore_runtime.cli:main"]},
)
