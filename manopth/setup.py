"""Installs the MANO layer alone: `pip install manopth/.`.

This folder is the package itself, so that `import manopth` means the same from the repository root as anywhere else.
"""

from setuptools import setup

setup(
    name="manopth",
    version="0.1.0",
    description="A differentiable MANO hand layer in PyTorch, and the skinning and file reading it stands on",
    license="MIT",
    python_requires=">=3.10",
    packages=["manopth"],
    package_dir={"manopth": "."},
    install_requires=["torch>=2.4", "numpy>=1.26", "scipy>=1.11"],
)
