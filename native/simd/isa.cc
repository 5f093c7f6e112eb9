#include "simd/isa.h"

#include <cstdlib>
#include <utility>

#include "core/types.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "simd/isa.cc"
#include "simd/foreach_target.h"
#include "simd/simd.h"

GRISTMILL_SIMD_BEGIN
int64_t Target() { return HWY_TARGET; }
GRISTMILL_SIMD_END

#if HWY_ONCE
namespace gristmill {
namespace {

HWY_EXPORT(Target);

const std::vector<std::pair<std::string, int64_t>>& Names() {
  static const auto* names = new std::vector<std::pair<std::string, int64_t>>{
      {"avx512", HWY_AVX3}, {"avx2", HWY_AVX2}, {"neon", HWY_NEON}, {"portable", HWY_STATIC_TARGET}};
  return *names;
}

// Sets of this build that the machine can run, best first.
std::vector<std::pair<std::string, int64_t>> Runnable() {
  std::vector<std::pair<std::string, int64_t>> runnable;
  for (const auto& entry : Names()) {
    const bool known = runnable.empty() || runnable.back().second != entry.second;
    if (known && (HWY_TARGETS & hwy::SupportedTargets() & entry.second)) runnable.push_back(entry);
  }
  return runnable;
}

}  // namespace

std::vector<std::string> SupportedIsas() {
  hwy::DisableTargets(0);
  std::vector<std::string> names;
  for (const auto& [name, target] : Runnable()) names.push_back(name);
  return names;
}

void ChooseIsa() {
  const char* wanted = std::getenv("GRISTMILL_ISA");
  if (wanted == nullptr || *wanted == 0) return;
  std::string all;
  for (const auto& [name, target] : Runnable()) {
    if (name == wanted) {
      hwy::DisableTargets(~target);
      hwy::GetChosenTarget().Update(hwy::SupportedTargets());
      return;
    }
    all += (all.empty() ? "" : ", ") + name;
  }
  throw Error("GRISTMILL_ISA=" + std::string(wanted) + " cannot run here; this machine and build have " + all);
}

std::string IsaName() {
  const int64_t chosen = HWY_DYNAMIC_DISPATCH(Target)();
  for (const auto& [name, target] : Names()) {
    if (target == chosen) return name;
  }
  return hwy::TargetName(chosen);
}

}  // namespace gristmill
#endif  // HWY_ONCE
