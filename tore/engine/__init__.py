"""The train loop and what it stands on: optimizer, schedule, checkpoints, processes, logs."""
