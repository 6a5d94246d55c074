"""Reductions over the threads of a block, through shared memory of one element a thread."""

from voxkern.kernels.cuda._cuda import cuda


@cuda.jit(device=True)
def block_sum(value, shared):
    """Sum of every thread's `value`, by halves: one order for any run."""
    return column_sum(value, shared, 1)


@cuda.jit(device=True)
def column_sum(value, shared, across):
    """The same of the threads that are a multiple of `across` apart."""
    thread = cuda.threadIdx.y * cuda.blockDim.x + cuda.threadIdx.x
    cuda.syncthreads()
    shared[thread] = value
    cuda.syncthreads()
    half = cuda.blockDim.x * cuda.blockDim.y // 2
    while half >= across:
        if thread < half:
            shared[thread] += shared[thread + half]
        cuda.syncthreads()
        half //= 2
    return shared[thread % across]
