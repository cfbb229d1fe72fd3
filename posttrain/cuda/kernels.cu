// All kernels of training as one translation unit: what the build compiles, and what the harness runs on the CPU.
//
// One operation a file. Rows are packed as in `kernels::training`: sequences lie one after another. Shapes: T tokens
// of all sequences, C channels, F feed-forward, H heads, K key heads, D head dimension, V vocabulary, N trained tokens.
// Activations are f32 or bf16 (`E`, the suffix of a kernel's name); the residual stream, its gradient, norm weights,
// moments and every sum are f32. No kernel uses atomics: each sum has one order, given by the shapes alone.

#include "convert.cu"
#include "embedding.cu"
#include "rms_norm.cu"
#include "rope.cu"
#include "attention.cu"
#include "attention_forward_64.cu"
#include "attention_backward_query_64.cu"
#include "attention_backward_key_64.cu"
#include "swiglu.cu"
#include "cross_entropy.cu"
#include "adamw.cu"
