/* Softmax along rows, its logarithm, the cross-entropy with a class, and their gradients.

   A row is read once from memory: its largest element, the sum of its exponentials and its map
   follow one another while it lies in the cache. Sums run in blocks whose results are added in double
   precision, in one order. */
#ifndef VOXKERN_SOFTMAX_H
#define VOXKERN_SOFTMAX_H
#include "exp.h"
#include "split.h"

enum { EXPS_SUMMED = 2048 }; /* elements in a block */

#define REAL float
#include "softmax_kernels.h"
#undef REAL
#define REAL double
#include "softmax_kernels.h"
#undef REAL
#endif
