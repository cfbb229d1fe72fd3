// All kernels of training as one translation unit, which the build compiles for the GPU and the harness for the CPU.
//
// Each file has one operation. Sequences are packed one after another, as in `kernels::training`. Shapes: T tokens of all
// sequences, C channels, F feed-forward, H heads, K key heads, D head dimension, V vocabulary, N trained tokens.
// Activations are f32 or bf16 (`E`, the suffix of a kernel's name); the residual stream, its gradient, norm weights,
// moments and every sum are f32. No kernel uses atomics: the shapes alone decide the order of each sum.

#include "convert.cu"
#include "embedding.cu"
#include "rms_norm.cu"
#include "rope.cu"
#include "attention.cu"
#include "attention_forward_64.cu"
#include "attention_backward_query_64.cu"
#include "attention_backward_key_64.cu"
#include "attention_key_sums_64.cu"
#include "swiglu.cu"
#include "cross_entropy.cu"
#include "adamw.cu"
#include "product.cu"
