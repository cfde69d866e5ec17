#!/bin/bash
# Pre-training on several machines of a SLURM cluster:
#   sbatch examples/slurm/pretrain_multinode.sh examples/configs/hitrs_ntu60_xsub_joint_pretrain.yaml [section.field=value ...]
# The output folder must be on a file system that all machines share. A job that reaches its time limit saves a
# checkpoint (SIGTERM two minutes before the end) and can be submitted again as it is: it continues.
#SBATCH --job-name=skeleton-pretrain
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --output=%x-%j.log

set -euo pipefail

GPUS_PER_NODE=${SLURM_GPUS_ON_NODE:-4}
HEAD_NODE=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-8}

srun accelerate launch \
    --config_file examples/configs/accelerate/multi_node.yaml \
    --num_machines "$SLURM_NNODES" \
    --num_processes $((SLURM_NNODES * GPUS_PER_NODE)) \
    --main_process_ip "$HEAD_NODE" \
    --main_process_port 29500 \
    examples/pretrain.py "$@" --resume
