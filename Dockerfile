# Training and inference on CUDA: `docker build -t tore .`, then, with data sets and body model files (docs/DATA.md)
# under /data on the host,
#     docker run --gpus all --ipc=host -v /data:/data -v $PWD/models:/workspace/models \
#         -e DATA_DIR=/data -e TORE_BODY_DIR=/data/bodies -e OUTPUT_DIR=/data/output tore bash train_tore_fm.sh
FROM pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime
WORKDIR /workspace
ENV PYTHONUNBUFFERED=1
COPY setup.py pyproject.toml requirements.txt README.md LICENSE ./
COPY manopth ./manopth
COPY tore ./tore
COPY models ./models
COPY *.sh ./
COPY scripts ./scripts
RUN pip install --no-cache-dir -e ".[render,synthetic]"
CMD ["tore", "--help"]
