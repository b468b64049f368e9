"""Rotations, cameras and Procrustes alignment: batched, pure torch, no other room of tore."""
