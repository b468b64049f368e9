"""Data sets: the METRO TSV format, crops and augmentation, samplers, synthetic pictures, converters."""
