#!/usr/bin/env bash
# Installs the project and runs its main job without any licensed file: the cost of the paper's networks, counted on
# the synthetic stand-in body. Interrupted and started again, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
install_project synthetic
tore cost "$@"
