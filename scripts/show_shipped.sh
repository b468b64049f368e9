#!/usr/bin/env bash
# Runs both demos with the networks that ship, and writes what they find into README and docs: images and tables.
# Arguments go to the demos. Started again after an interruption, it resumes.
set -euo pipefail
cd "$(dirname "$0")/.."
for body in body hand; do
    python -m tore.cli demo --body "$body" --output_dir "output/shipped_$body" "$@"
    python scripts/show_demo.py --demo "output/shipped_$body"
done
