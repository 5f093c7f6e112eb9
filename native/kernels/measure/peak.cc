#include "kernels/measure/peak.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "core/buffer.h"
#include "core/thread_pool.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/measure/peak.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"

GRISTMILL_SIMD_BEGIN

// Twelve chains hide the latency of a multiply-add on every machine so far. Returns the operations done.
double MultiplyAdds(int64_t rounds, float* result) {
  const F32 d;
  constexpr int kChains = 12;
  VF sums[kChains];
  for (int i = 0; i < kChains; ++i) sums[i] = hn::Set(d, static_cast<float>(i));
  const VF factor = hn::Set(d, 0.5f), term = hn::Set(d, *result);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int i = 0; i < kChains; ++i) sums[i] = hn::MulAdd(sums[i], factor, term);
  }
  VF total = sums[0];
  for (int i = 1; i < kChains; ++i) total = hn::Add(total, sums[i]);
  *result = hn::GetLane(hn::SumOfLanes(d, total));
  return 2.0 * kChains * static_cast<double>(Lanes()) * static_cast<double>(rounds);
}

// Four streams at once: a memory gives one thread more that way. `count` is a multiple of 4 lines.
float ReadAll(const float* from, int64_t count) {
  const F32 d;
  const int64_t lanes = static_cast<int64_t>(Lanes()), part = count / 4;
  VF sums[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  for (int64_t i = 0; i + 2 * lanes <= part; i += 2 * lanes) {
#pragma GCC unroll 4
    for (int s = 0; s < 4; ++s) {
      const float* at = from + s * part + i;
      sums[s] = hn::Add(sums[s], hn::Add(hn::Load(d, at), hn::Load(d, at + lanes)));
    }
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3]))));
}

GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {

HWY_EXPORT(MultiplyAdds);
HWY_EXPORT(ReadAll);

namespace {

// The best of several runs: what disturbs a run only makes it slower.
template <typename F>
double Best(int runs, const F& amount) {
  double best = 0;
  for (int i = 0; i < runs; ++i) {
    const auto start = std::chrono::steady_clock::now();
    const double done = amount();
    best = std::max(best, done / std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

}  // namespace

double PeakFlops(int threads) {
  std::vector<float> results(static_cast<size_t>(threads) * 16, 1.0f);
  std::vector<double> done(static_cast<size_t>(threads));
  return Best(40, [&] {
    ThreadPool::Global().Run(threads, threads, [&](int64_t task, int) {
      done[static_cast<size_t>(task)] = HWY_DYNAMIC_DISPATCH(MultiplyAdds)(300000, &results[static_cast<size_t>(task) * 16]);
    });
    double total = 0;
    for (double part : done) total += part;
    return total;
  });
}

double PeakBytes(int threads) {
  constexpr int64_t kFloats = int64_t{1} << 26;  // 256 MB: more than the caches of today's machines
  Buffer memory(kFloats * sizeof(float));
  std::fill(memory.as<float>(), memory.as<float>() + kFloats, 1.0f);
  constexpr int64_t kParts = 64, kPart = kFloats / kParts;
  std::vector<float> sums(kParts * 16);
  return Best(4, [&] {
    ThreadPool::Global().Run(kParts, threads, [&](int64_t part, int) {
      sums[static_cast<size_t>(part) * 16] = HWY_DYNAMIC_DISPATCH(ReadAll)(memory.as<float>() + part * kPart, kPart);
    });
    return static_cast<double>(kFloats) * sizeof(float);
  });
}

}  // namespace gristmill
#endif  // HWY_ONCE
