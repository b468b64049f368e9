#!/usr/bin/env bash
# Trains METRO+TORE on bodies with the official settings: 8 processes x 32 images, 200 epochs.
# Environment: DATA_DIR, OUTPUT_DIR, NPROC. Further flags are added to the command; for METRO by its own recipe
# `bash train_tore_m.sh --token_reduction none --recipe metro`.
set -euo pipefail
cd "$(dirname "$0")"
torchrun --standalone --nproc_per_node="${NPROC:-8}" tore/tools/run_tore_m_bodymesh.py \
    --data_dir "${DATA_DIR:-datasets}" \
    --train_yaml "${TRAIN_YAML:-Tax-H36m-coco40k-Muco-UP-Mpii/train.yaml}" \
    --val_yaml "${VAL_YAML:-human3.6m/valid.protocol2.yaml}" \
    --output_dir "${OUTPUT_DIR:-output/tore_m}" \
    --arch "${ARCH:-resnet50}" \
    --num_workers 4 \
    --per_gpu_train_batch_size 32 \
    --per_gpu_eval_batch_size 32 \
    --num_hidden_layers 4 \
    --num_attention_heads 4 \
    --lr 1e-4 \
    --num_train_epochs 200 \
    --input_feat_dim 2051,512,128 \
    --hidden_feat_dim 1024,256,128 \
    "$@"
