#include "bench/floor.h"

#include <cmath>

#include "core/spec/weight_layout.h"

namespace pamir::bench {
namespace {

using spec::WeightRole;

constexpr int64_t kSkipGroup = 16;

bool IsRead(const spec::ModelSpec& model, WeightRole role) {
  if (role == WeightRole::kEmbedding) return model.tied;  // it is the LM head
  return role != WeightRole::kPositions;
}

bool IsLmHead(const spec::ModelSpec& model, WeightRole role) {
  return role == (model.tied ? WeightRole::kEmbedding : WeightRole::kLmHead);
}

bool IsMatrix(const spec::WeightPiece& piece) {
  return piece.form != spec::WeightForm::kVector && piece.form != spec::WeightForm::kTable;
}

}  // namespace

double Fc2Share(double density, int64_t rows, int64_t group) {
  if (group == 0) return 1;
  return 1 - std::pow(1 - density, static_cast<double>(rows * group));
}

int64_t SkippedGroup(const spec::ModelSpec& model, const spec::ShardPlan& plan) {
  if (model.activation != spec::Activation::kRelu) return 0;
  if (plan.device == spec::DeviceKind::kCpu || plan.relu_skip == spec::ReluSkip::kFull) return 1;
  return plan.relu_skip == spec::ReluSkip::kGroup ? kSkipGroup : 0;
}

double DecodeBytes(const spec::ModelSpec& model, const spec::ShardPlan& plan, int64_t rows,
                   double context, double fc2_share) {
  double bytes = 0;
  for (const spec::WeightPiece& piece : spec::WeightLayoutOf(model, plan, 0).pieces) {
    if (!IsRead(model, piece.role)) continue;
    const double share = piece.role == WeightRole::kFc2 ? fc2_share : 1;
    bytes += share * static_cast<double>(piece.bytes);
  }
  const double kv_bytes_a_token = static_cast<double>(spec::KvBytesPerBlock(model, plan, 0)) /
                                  static_cast<double>(plan.limits.block_size);
  return bytes + static_cast<double>(rows) * context * kv_bytes_a_token;
}

double PrefillOperations(const spec::ModelSpec& model, const spec::ShardPlan& plan,
                         int64_t tokens) {
  const double n = static_cast<double>(tokens);
  double operations = 0;
  for (const spec::WeightPiece& piece : spec::WeightLayoutOf(model, plan, 0).pieces) {
    if (!IsMatrix(piece) || !IsRead(model, piece.role)) continue;
    const double rows = IsLmHead(model, piece.role) ? 1 : n;
    operations += 2 * rows * static_cast<double>(piece.rows * piece.columns);
  }
  const double attention = 2 * static_cast<double>(model.hidden) * n * (n + 1);
  return operations + static_cast<double>(model.layers) * attention;
}

}  // namespace pamir::bench
