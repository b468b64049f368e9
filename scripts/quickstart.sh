#!/usr/bin/env bash
# Installs the project and runs its demo, without any licensed file or download: `tore demo`, whose last line
# is the path of its report. Arguments go to the demo. Started again after an interruption, it resumes.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/environment.sh
install_project synthetic
tore demo "$@"
