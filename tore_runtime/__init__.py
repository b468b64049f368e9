"""Human mesh recovery by exported networks, without torch: crops, runs, places, draws and saves.

`tore export` makes the networks' files. The package `tore`, which trains networks, uses these very modules.
"""

__version__ = "0.2.0"
