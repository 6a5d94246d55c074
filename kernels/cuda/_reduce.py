"""Reductions over the threads of a block, through shared memory of one element a thread."""

from voxkern.kernels.cuda._cuda import cuda


@cuda.jit(device=True)
def block_sum(value, shared):
    """Sum of every thread's `value`, by halves: one order for any run."""
    thread = cuda.threadIdx.x
    cuda.syncthreads()
    shared[thread] = value
    cuda.syncthreads()
    half = cuda.blockDim.x // 2
    while half > 0:
        if thread < half:
            shared[thread] += shared[thread + half]
        cuda.syncthreads()
        half //= 2
    return shared[0]
