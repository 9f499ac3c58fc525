#include "kernels/embedding/embedding_cuda.h"
#include "ops/ops_test.cuh"

namespace pamir::gpu_test {
namespace {

constexpr int kVocab = 1000, kWidth = 516, kTokens = 77, kContext = 64;

struct Tokens {
  std::vector<int32_t> ids, sampled, positions;
};

Tokens MakeTokens() {
  Random random(5);
  Tokens t;
  for (int i = 0; i < kTokens; ++i) {
    t.sampled.push_back(random.Below(kVocab));
    t.ids.push_back(i % 3 == 0 ? -1 - i : random.Below(kVocab));  // every third from its slot
    t.positions.push_back(random.Below(kContext));
  }
  return t;
}

// The tables' values as floats, exact in the type.
struct Tables {
  DType type;
  std::vector<float> tokens, places;
  explicit Tables(DType t)
      : type(t),
        tokens(Rounded(t, RandomFloats(kVocab * kWidth, 1))),
        places(Rounded(t, RandomFloats((kContext + 2) * kWidth, 2))) {}
};

// table + positions, for the part [begin, end) of the rows.
std::vector<float> OnCpu(const Tokens& t, const Tables& tables, int begin, int end, int offset) {
  std::vector<float> out;
  for (int i = 0; i < kTokens; ++i) {
    const int id = t.ids[i] < 0 ? t.sampled[-1 - t.ids[i]] : t.ids[i];
    for (int d = 0; d < kWidth; ++d) {
      const float v = id >= begin && id < end ? tables.tokens[id * kWidth + d] : 0.0f;
      out.push_back(v + tables.places[(t.positions[i] + offset) * kWidth + d]);
    }
  }
  return out;
}

void CheckTables(Verdicts& verdicts, DType type, DType out_type) {
  const Tokens t = MakeTokens();
  const Tables tables(type);
  const TypedBuffer table_gpu(type, tables.tokens), places_gpu(type, tables.places);
  const Buffer<int32_t> ids(t.ids), sampled(t.sampled), positions(t.positions);
  const std::string name = std::string("embedding, ") + Name(type) + " to " + Name(out_type) + ", ";
  for (const auto& [begin, end] : {std::pair{0, kVocab}, {0, 500}, {500, kVocab}}) {
    const TypedBuffer out(out_type, kTokens * kWidth);
    kernels::EmbedCudaArgs args;
    args.ids = ids.get(), args.sampled = sampled.get(), args.tokens = kTokens;
    args.width = kWidth, args.table = table_gpu.get() + begin * kWidth * SizeOf(type);
    args.table_type = type, args.first_row = begin, args.table_rows = end - begin;
    args.positions = positions.get(), args.position_table = places_gpu.get();
    args.out = out.get(), args.out_type = out_type;
    CUDA_CHECK(kernels::EmbedCuda(args, {}));
    const std::string rows = "rows " + std::to_string(begin) + " to " + std::to_string(end);
    const std::vector<float> got = out.Get();
    verdicts.Row(name + rows + ": differing elements",
                 Differences(got, Rounded(out_type, OnCpu(t, tables, begin, end, 2))), 0);
    verdicts.Row(name + rows + ": positions off by one",
                 Differences(got, Rounded(out_type, OnCpu(t, tables, begin, end, 1))), 0, false);
  }
  const TypedBuffer out(DType::kFloat32, kTokens * kWidth);
  kernels::EmbedCudaArgs args;
  args.ids = ids.get(), args.sampled = sampled.get(), args.tokens = kTokens, args.width = kWidth;
  args.table = table_gpu.get(), args.table_type = type, args.table_rows = kVocab;
  args.out = out.get();
  CUDA_CHECK(kernels::EmbedCuda(args, {}));
  kernels::AddPositionsCudaArgs add;
  add.positions = positions.get(), add.tokens = kTokens, add.width = kWidth;
  add.table = places_gpu.get(), add.table_type = type;
  add.x = reinterpret_cast<float*>(out.get());
  CUDA_CHECK(kernels::AddPositionsCuda(add, {}));
  verdicts.Row(name + "positions added later: differing elements",
               Differences(out.Get(), OnCpu(t, tables, 0, kVocab, 2)), 0);
}

void CheckPickRows(Verdicts& verdicts) {
  const std::vector<float> all = RandomFloats(kTokens * kWidth, 3);
  const std::vector<int32_t> rows = {76, 0, 3, 3};
  const Buffer<float> in(all);
  const Buffer<int32_t> rows_gpu(rows);
  Buffer<float> picked(rows.size() * kWidth);
  kernels::PickRowsCudaArgs pick;
  pick.in = in.get(), pick.rows = rows_gpu.get(), pick.count = static_cast<int64_t>(rows.size());
  pick.row_bytes = kWidth * 4, pick.out = picked.get();
  CUDA_CHECK(kernels::PickRowsCuda(pick, {}));
  const auto expected = [&](int off) {
    std::vector<float> values;
    for (const int row : rows) {
      const auto at = all.begin() + (row + off) % kTokens * kWidth;
      values.insert(values.end(), at, at + kWidth);
    }
    return values;
  };
  verdicts.Row("picking rows: differing elements", Differences(picked.Get(), expected(0)), 0);
  verdicts.Row("picking rows: the next ones", Differences(picked.Get(), expected(1)), 0, false);
}

void CheckScatter(Verdicts& verdicts, int count) {
  const int slots = count + 10;
  std::vector<int32_t> tokens, to, expected(slots, -1), twin(slots, -1);
  for (int i = 0; i < count; ++i) {
    tokens.push_back(1000 + i);
    to.push_back((i * 7 + 3) % slots);  // distinct where 7 does not divide the slots
    expected[to[i]] = tokens[i], twin[to[i]] = tokens[0];
  }
  const Buffer<int32_t> tokens_gpu(tokens), slots_gpu(to);
  Buffer<int32_t> sampled(slots);
  sampled.FillBytes(0xff);
  kernels::ScatterTokensCudaArgs args;
  args.tokens = tokens_gpu.get(), args.slots = slots_gpu.get(), args.count = count;
  args.sampled = sampled.get();
  CUDA_CHECK(kernels::ScatterTokensCuda(args, {}));
  const std::string name = "scattering " + std::to_string(count) + " tokens: ";
  verdicts.Row(name + "differing slots", Differences(sampled.Get(), expected), 0);
  if (count > 1) {
    verdicts.Row(name + "the first one's", Differences(sampled.Get(), twin), 0, false);
  }
}

}  // namespace

void CheckEmbedding(Verdicts& verdicts, bool tiny) {
  CheckTables(verdicts, DType::kFloat16, DType::kFloat32);
  if (!tiny) {
    CheckTables(verdicts, DType::kBFloat16, DType::kFloat32);
    CheckTables(verdicts, DType::kFloat32, DType::kFloat32);
    CheckTables(verdicts, DType::kFloat16, DType::kFloat16);  // before project_in
    CheckTables(verdicts, DType::kBFloat16, DType::kBFloat16);
  }
  CheckPickRows(verdicts);
  for (const int count : {1, 129, 600}) CheckScatter(verdicts, count);
}

}  // namespace pamir::gpu_test
