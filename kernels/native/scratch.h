/* Memory for a call, aligned to cache lines. The last block given back is kept for the next call:
   fresh pages cost a twentieth of a convolution. */
#ifndef VOXKERN_SCRATCH_H
#define VOXKERN_SCRATCH_H
#include <stdint.h>
#include <stdlib.h>
#if defined(_MSC_VER)
#include <intrin.h>
#endif

typedef struct {
    void *start; /* as malloc gave it */
    size_t bytes;
} ScratchHeader;

enum { SCRATCH_ALIGN = 64 };
#define SCRATCH_KEPT ((size_t)1 << 26)

static void *volatile spare_scratch;

/* Whoever takes the spare block has it alone, whatever other threads do. */
static inline void *swap_spare(void *block) {
#if defined(_MSC_VER)
    return _InterlockedExchangePointer((void *volatile *)&spare_scratch, block);
#else
    return __atomic_exchange_n(&spare_scratch, block, __ATOMIC_ACQ_REL);
#endif
}

static inline ScratchHeader *scratch_header(void *block) { return (ScratchHeader *)block - 1; }

static inline void free_scratch(void *block) {
    if (block) free(scratch_header(block)->start);
}

/* `bytes` of memory, not cleared; NULL where there is none. */
static inline void *take_scratch(size_t bytes) {
    void *block = swap_spare(NULL);
    if (block && scratch_header(block)->bytes >= bytes) return block;
    free_scratch(block);
    char *start = (char *)malloc(bytes + sizeof(ScratchHeader) + SCRATCH_ALIGN);
    if (!start) return NULL;
    uintptr_t aligned = (uintptr_t)(start + sizeof(ScratchHeader) + SCRATCH_ALIGN - 1);
    block = (void *)(aligned / SCRATCH_ALIGN * SCRATCH_ALIGN);
    scratch_header(block)->start = start;
    scratch_header(block)->bytes = bytes;
    return block;
}

/* Give a block back; after this another call may have it. */
static inline void give_scratch(void *block) {
    if (block && scratch_header(block)->bytes > SCRATCH_KEPT) free_scratch(block);
    else free_scratch(swap_spare(block));
}
#endif
