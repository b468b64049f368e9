"""A MANO hand layer in PyTorch, with the skinning and the safe file reading it stands on."""
