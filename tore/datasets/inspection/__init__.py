"""Looks at a data set: checks, checksums, statistics, contact sheets."""
