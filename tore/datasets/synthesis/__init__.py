"""Synthetic pictures with every label: people or hands in a scene, written as a METRO TSV set."""
