#!/usr/bin/env bash
# Recovers meshes from a picture, a folder or a quoted pattern; further options go on to the tool:
#   bash inference_tore_fm.sh CHECKPOINT PICTURES [--output_dir DIR --save_mesh obj ...]
set -euo pipefail
if [ $# -lt 2 ]; then
    echo "usage: bash inference_tore_fm.sh CHECKPOINT PICTURES [options of tore/cli/infer.py]" >&2
    exit 2
fi
exec python "$(dirname "$0")/tore/cli/infer.py" --resume_checkpoint "$1" --image_file_or_path "${@:2}"
