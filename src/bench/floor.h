// What a step cannot do without: bytes that it must read, operations that it must do.
#ifndef PAMIR_BENCH_FLOOR_H_
#define PAMIR_BENCH_FLOOR_H_

#include <cstdint>

#include "core/spec/model_spec.h"
#include "core/spec/shard_plan.h"

namespace pamir::bench {

// The share of fc2's weights that a step of `rows` rows must read where each neuron of each row is
// active with probability `density`, independently, and whole groups of `group` neurons that are
// idle in every row are left out: 1 - (1 - density)^(rows * group). `group` 0: nothing is left out.
double Fc2Share(double density, int64_t rows, int64_t group);

// Neurons that the plan's fc2 leaves out together: 1, 16, or 0 where it leaves none out. CPUs
// always skip each by itself; only ReLU models have idle neurons.
int64_t SkippedGroup(const spec::ModelSpec& model, const spec::ShardPlan& plan);

// Bytes that a decode step of the plan's only rank must read: all matrices and vectors of the
// layers (of fc2: `fc2_share`), the final norm, the projections and the LM head, once; keys and
// values of `context` positions for each row. Not: looked-up rows of embeddings, activations.
double DecodeBytes(const spec::ModelSpec& model, const spec::ShardPlan& plan, int64_t rows,
                   double context, double fc2_share);

// Multiplications and additions of one sequence of `tokens` in one step: 2 for each weight of a
// layer's matrices (and of projections) and token; causal attention's 2 d n (n + 1) a head; the LM
// head for one token.
double PrefillOperations(const spec::ModelSpec& model, const spec::ShardPlan& plan, int64_t tokens);

}  // namespace pamir::bench

#endif  // PAMIR_BENCH_FLOOR_H_
