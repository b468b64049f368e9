#!/usr/bin/env bash
#SBATCH --job-name=tore
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=6
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=USR1@180
# One task per GPU, no launcher between SLURM and Python: three minutes before the time is up every task gets SIGUSR1,
# finishes its step, saves and leaves with code 75; the job then puts itself back into the queue and resumes.
#     sbatch scripts/slurm_train.sh tore/tools/run_tore_fm_bodymesh.py --output_dir output/fm --arch resnet50 ...
set -uo pipefail
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 20000))
export MASTER_ADDR MASTER_PORT
srun --kill-on-bad-exit=0 bash -c '
    export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID WORLD_SIZE=$SLURM_NTASKS OMP_NUM_THREADS=1
    exec python "$@"' task "$@" --resume auto
code=$?
if [ "$code" -eq 75 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
