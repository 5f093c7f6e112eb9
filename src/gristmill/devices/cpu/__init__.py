"""The CPU engine: typed programs lowered to native kernels."""
