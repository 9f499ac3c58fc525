#include <cuda_fp16.h>

#include "kernels/embedding/embedding_cuda.h"
#include "ops/ops_test.cuh"

namespace pamir::gpu_test {
namespace {

constexpr int kVocab = 1000, kWidth = 516, kTokens = 77, kContext = 64;

std::vector<half> RandomHalves(int count, uint32_t seed) {
  Random random(seed);
  std::vector<half> values;
  for (int i = 0; i < count; ++i) values.push_back(__float2half(random.Normal()));
  return values;
}

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

// Of all tokens, elements that differ from table + positions, for the part [begin, end) of the
// rows.
double Mismatches(const Tokens& t, const std::vector<half>& table, const std::vector<half>& places,
                  const std::vector<float>& got, int begin, int end, int offset) {
  double count = 0;
  for (int i = 0; i < kTokens; ++i) {
    const int id = t.ids[i] < 0 ? t.sampled[-1 - t.ids[i]] : t.ids[i];
    for (int d = 0; d < kWidth; ++d) {
      float expected = id >= begin && id < end ? __half2float(table[id * kWidth + d]) : 0.0f;
      expected += __half2float(places[(t.positions[i] + offset) * kWidth + d]);
      count += got[i * kWidth + d] != expected;
    }
  }
  return count;
}

}  // namespace

void CheckEmbedding(Verdicts& verdicts) {
  const Tokens t = MakeTokens();
  const std::vector<half> table = RandomHalves(kVocab * kWidth, 1);
  const std::vector<half> places = RandomHalves((kContext + 2) * kWidth, 2);
  const Buffer<half> table_gpu(table), places_gpu(places);
  const Buffer<int32_t> ids(t.ids), sampled(t.sampled), positions(t.positions);
  Buffer<float> out(kTokens * kWidth);
  for (const auto& [begin, end] : {std::pair{0, kVocab}, {0, 500}, {500, kVocab}}) {
    out.FillBytes(0xff);
    kernels::EmbedCudaArgs args;
    args.ids = ids.get(), args.sampled = sampled.get(), args.tokens = kTokens;
    args.width = kWidth, args.table = table_gpu.get() + begin * kWidth, args.first_row = begin;
    args.table_rows = end - begin, args.positions = positions.get();
    args.position_table = places_gpu.get(), args.out = out.get();
    CUDA_CHECK(kernels::EmbedCuda(args, {}));
    verdicts.Row("embedding, vocabulary rows " + std::to_string(begin) + " to " +
                     std::to_string(end) + ": differing elements",
                 Mismatches(t, table, places, out.Get(), begin, end, 2), 0);
  }
  verdicts.Row("embedding, positions off by one",
               Mismatches(t, table, places, out.Get(), 500, kVocab, 1), 0, false);

  kernels::EmbedCudaArgs args;
  args.ids = ids.get(), args.sampled = sampled.get(), args.tokens = kTokens, args.width = kWidth;
  args.table = table_gpu.get(), args.table_rows = kVocab, args.out = out.get();
  CUDA_CHECK(kernels::EmbedCuda(args, {}));
  kernels::AddPositionsCudaArgs add;
  add.positions = positions.get(), add.tokens = kTokens, add.width = kWidth;
  add.table = places_gpu.get(), add.x = out.get();
  CUDA_CHECK(kernels::AddPositionsCuda(add, {}));
  verdicts.Row("embedding, positions added later: differing elements",
               Mismatches(t, table, places, out.Get(), 0, kVocab, 2), 0);

  const std::vector<int32_t> rows = {76, 0, 3, 3};
  const Buffer<int32_t> rows_gpu(rows);
  Buffer<float> picked(rows.size() * kWidth);
  kernels::PickRowsCudaArgs pick;
  pick.in = out.get(), pick.rows = rows_gpu.get(), pick.count = rows.size();
  pick.row_bytes = kWidth * 4, pick.out = picked.get();
  CUDA_CHECK(kernels::PickRowsCuda(pick, {}));
  const std::vector<float> all = out.Get(), some = picked.Get();
  double differences = 0;
  for (size_t i = 0; i < some.size(); ++i) {
    differences += some[i] != all[rows[i / kWidth] * kWidth + i % kWidth];
  }
  verdicts.Row("picking rows: differing elements", differences, 0);
}

}  // namespace pamir::gpu_test
