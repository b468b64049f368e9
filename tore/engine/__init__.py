"""The train loop and what it stands on: optimiser, schedule, checkpoints, processes, logs."""
