// Several vectors that go through one formula side by side.
//
// A formula is a chain: each of its steps waits for the one before. Chains that follow one another run at once only as
// far as a processor's window of instructions reaches, which is a few of them, and fewer where another thread shares the
// core. Where steps of different chains are neighbours, it need not reach far.
//
// A formula is written once, as a template over its argument, with the names of Highway's operations but without its
// namespace: `V Twice(V x) { return Add(x, x); }` takes one vector or several.
#include "simd/simd.h"

#if defined(GRISTMILL_SIMD_SEVERAL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef GRISTMILL_SIMD_SEVERAL_H_
#undef GRISTMILL_SIMD_SEVERAL_H_
#else
#define GRISTMILL_SIMD_SEVERAL_H_
#endif

#include <algorithm>
#include <type_traits>
#include <utility>

GRISTMILL_SIMD_BEGIN

template <size_t N>
struct Several {
  VF v[N];
};

constexpr size_t kSeveral = 4;  // as many as registers hold the steps of

template <typename T>
constexpr size_t kCountOf = 0;  // of what is one for all
template <size_t N>
constexpr size_t kCountOf<Several<N>> = N;

template <size_t I>
HWY_INLINE VF At(VF x) {
  return x;
}
template <size_t I, size_t N>
HWY_INLINE VF At(const Several<N>& x) {
  return x.v[I];
}

template <size_t I, typename F, typename... A>
HWY_INLINE VF One(const F& f, const A&... a) {
  return f(At<I>(a)...);
}
template <size_t... I, typename F, typename... A>
HWY_INLINE Several<sizeof...(I)> All(std::index_sequence<I...>, const F& f, const A&... a) {
  return {{One<I>(f, a...)...}};
}

// f of vectors, or of the several ones one by one; a vector beside several is the same for all.
template <typename F, typename... A>
HWY_INLINE auto Each(const F& f, const A&... a) {
  constexpr size_t count = std::max({kCountOf<A>...});
  if constexpr (count == 0) {
    return f(a...);
  } else {
    return All(std::make_index_sequence<count>(), f, a...);
  }
}

#define GRISTMILL_EACH(Operation)                                     \
  template <typename... A>                                            \
  HWY_INLINE auto Operation(const A&... a) {                          \
    return Each([](auto... x) { return hn::Operation(x...); }, a...); \
  }
GRISTMILL_EACH(Abs)
GRISTMILL_EACH(Add)
GRISTMILL_EACH(Div)
GRISTMILL_EACH(Max)
GRISTMILL_EACH(Min)
GRISTMILL_EACH(Mul)
GRISTMILL_EACH(MulAdd)
GRISTMILL_EACH(Sub)
#undef GRISTMILL_EACH

HWY_INLINE VF Number(float x) { return hn::Set(F32(), x); }

// The same vector several times.
template <size_t N>
HWY_INLINE Several<N> Filled(VF x) {
  Several<N> made;
  for (VF& v : made.v) v = x;
  return made;
}

// Vectors that lie one after the other, or `pitch` elements apart.
template <size_t N, typename T>
HWY_INLINE Several<N> LoadSeveral(const T* p, int64_t pitch = static_cast<int64_t>(Lanes())) {
  Several<N> made;
#pragma GCC unroll 8
  for (size_t i = 0; i < N; ++i) made.v[i] = LoadF(p + static_cast<int64_t>(i) * pitch);
  return made;
}
template <size_t N, typename T>
HWY_INLINE void StoreSeveral(const Several<N>& x, T* p, int64_t pitch = static_cast<int64_t>(Lanes())) {
#pragma GCC unroll 8
  for (size_t i = 0; i < N; ++i) StoreF(x.v[i], p + static_cast<int64_t>(i) * pitch);
}

// to = f(x), up to a whole vector past the end; several vectors at a time where f takes them.
template <typename F>
HWY_INLINE void MapRun(const float* x, float* to, size_t count, const F& f) {
  const size_t lanes = Lanes();
  size_t i = 0;
  if constexpr (std::is_invocable_v<F, Several<kSeveral>>) {
    for (; i + kSeveral * lanes <= count; i += kSeveral * lanes) StoreSeveral(f(LoadSeveral<kSeveral>(x + i)), to + i);
  }
  for (; i < count; i += lanes) hn::StoreU(f(hn::LoadU(F32(), x + i)), F32(), to + i);
}

GRISTMILL_SIMD_END
#endif  // per target
