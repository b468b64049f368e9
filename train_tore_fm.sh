#!/usr/bin/env bash
# Trains FastMETRO+TORE on bodies with the official settings: 4 processes x 16 images, 60 epochs.
# Environment: DATA_DIR, OUTPUT_DIR, NPROC. Further flags are added to the command: `bash train_tore_fm.sh --amp bf16`, or
# for FastMETRO by its own recipe `bash train_tore_fm.sh --token_reduction none --recipe fastmetro`.
set -euo pipefail
cd "$(dirname "$0")"
torchrun --standalone --nproc_per_node="${NPROC:-4}" tore/tools/run_tore_fm_bodymesh.py \
    --data_dir "${DATA_DIR:-datasets}" \
    --train_yaml "${TRAIN_YAML:-Tax-H36m-coco40k-Muco-UP-Mpii/train.yaml}" \
    --val_yaml "${VAL_YAML:-human3.6m/valid.protocol2.yaml}" \
    --output_dir "${OUTPUT_DIR:-output/tore_fm}" \
    --arch "${ARCH:-efficientnet-b0}" \
    --model_name FastMETRO_L \
    --keep_ratio 0.8 \
    --num_workers 4 \
    --per_gpu_train_batch_size 16 \
    --per_gpu_eval_batch_size 16 \
    --lr 1e-4 \
    --num_train_epochs 60 \
    "$@"
