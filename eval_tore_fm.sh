#!/usr/bin/env bash
# Evaluates a FastMETRO+TORE checkpoint: `CHECKPOINT=state_dict.bin bash eval_tore_fm.sh`.
# Environment: CHECKPOINT, ARCH, DATA_DIR, VAL_YAML, OUTPUT_DIR, NPROC. Further flags are added to the command.
set -euo pipefail
cd "$(dirname "$0")"
torchrun --standalone --nproc_per_node="${NPROC:-1}" tore/tools/run_tore_fm_bodymesh.py \
    --run_eval_only \
    --checkpoint "${CHECKPOINT:?name the checkpoint: CHECKPOINT=path/state_dict.bin bash eval_tore_fm.sh}" \
    --data_dir "${DATA_DIR:-datasets}" \
    --val_yaml "${VAL_YAML:-human3.6m/valid.protocol2.yaml}" \
    --output_dir "${OUTPUT_DIR:-output/eval_tore_fm}" \
    --arch "${ARCH:-efficientnet-b0}" \
    --num_workers 4 \
    --per_gpu_eval_batch_size 16 \
    "$@"
