/* Elementwise functions and their gradients. */
#ifndef VOXKERN_ACTIVATIONS_H
#define VOXKERN_ACTIVATIONS_H
#include "exp.h"

enum { RELU, LEAKY_RELU, ELU, SIGMOID, TANH, HEAVISIDE, SOFTPLUS };

#define REAL float
#include "activations_kernels.h"
#undef REAL
#define REAL double
#include "activations_kernels.h"
#undef REAL
#endif
