#!/usr/bin/env bash
# Evaluates a METRO+TORE checkpoint: `CHECKPOINT=state_dict.bin bash eval_tore_m.sh`.
# Environment: CHECKPOINT, ARCH, DATA_DIR, VAL_YAML, OUTPUT_DIR, NPROC. Further flags are added to the command.
set -euo pipefail
cd "$(dirname "$0")"
torchrun --standalone --nproc_per_node="${NPROC:-1}" tore/tools/run_tore_m_bodymesh.py \
    --run_eval_only \
    --checkpoint "${CHECKPOINT:?name the checkpoint: CHECKPOINT=path/state_dict.bin bash eval_tore_m.sh}" \
    --data_dir "${DATA_DIR:-datasets}" \
    --val_yaml "${VAL_YAML:-human3.6m/valid.protocol2.yaml}" \
    --output_dir "${OUTPUT_DIR:-output/eval_tore_m}" \
    --arch "${ARCH:-resnet50}" \
    --num_workers 4 \
    --per_gpu_eval_batch_size 32 \
    "$@"
