"""The native kernels compiled for x86-64-v3: AVX2 and FMA."""
