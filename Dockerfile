# Training and inference on CUDA: `docker build -t tore .`, then
# `docker run --gpus all --ipc=host -v /data:/data -v $PWD/models:/workspace/models tore bash train_tore_fm.sh`
# with DATA_DIR=/data and TORE_BODY_DIR pointing at the body model files.
FROM pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime
WORKDIR /workspace
ENV PYTHONUNBUFFERED=1
COPY setup.py requirements.txt README.md LICENSE ./
COPY manopth ./manopth
COPY tore ./tore
COPY models ./models
COPY *.sh ./
COPY scripts ./scripts
RUN pip install --no-cache-dir -e ".[render,synthetic]"
CMD ["tore", "--help"]
