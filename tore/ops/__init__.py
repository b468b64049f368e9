"""Kernels that train faster on a CPU than torch's own: linear, depthwise convolution, dropout, neighbor attention."""
