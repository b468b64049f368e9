#!/usr/bin/env bash
# Installs the project (into the active virtual environment, else into .venv) and runs
# ruff, mypy, the documentation's build and the tests.
# Further arguments go to pytest: `bash scripts/test.sh -k crop`. Two processes share the tests; `-n 4` takes four,
# and `-n 0` none beside pytest's own, as a debugger needs it.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
install_project dev,docs
if command -v npm > /dev/null && [ -f tests/motion/package.json ]; then  # what tests read animation files with
    timeout 120 npm install --silent --no-audit --no-fund --prefix tests/motion || echo "npm installed nothing" >&2
fi
python -m ruff check .
python -m mypy
python -m mkdocs build --strict --quiet
python -m pytest -n 2 --dist worksteal "$@"
