#!/usr/bin/env bash
# Recovers meshes from an image, a folder or a quoted pattern; further options are passed on:
#   bash inference_tore_fm.sh CHECKPOINT IMAGES [--output_dir DIR --save_mesh obj ...]
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: bash inference_tore_fm.sh CHECKPOINT IMAGES [options of tore/cli/infer.py]" >&2
    exit 2
fi
exec python "$(dirname "$0")/tore/tools/tore_inference_fm.py" --checkpoint "$1" --images "${@:2}"
