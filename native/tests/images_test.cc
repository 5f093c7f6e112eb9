// Convolutions, pooling and resizing of channels-last images, against loops over every tap.
#include <array>

#include "kernels/conv/winograd.h"
#include "support.h"

namespace gristmill::test {
namespace {

using Triple = std::array<int64_t, 3>;
constexpr DType kTypes[] = {DType::kF16, DType::kF32};

// A sliding window over three axes, and an image [N, D, H, W, C] under it.
struct Layer {
  int64_t batch, channels, made;
  Triple size, kernel, strides{1, 1, 1}, dilations{1, 1, 1}, before{0, 0, 0}, after{0, 0, 0};
  int64_t groups = 1;
  bool transposed = false;

  Triple Out() const {
    Triple out;
    for (size_t a = 0; a < 3; ++a) {
      const int64_t reach = (kernel[a] - 1) * dilations[a] + 1, pad = before[a] + after[a];
      out[a] = transposed ? (size[a] - 1) * strides[a] + reach - pad : (size[a] + pad - reach) / strides[a] + 1;
    }
    return out;
  }
  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  Sizes In() const { return {batch, size[0], size[1], size[2], channels}; }
  Sizes Result() const { return {batch, Out()[0], Out()[1], Out()[2], made}; }
  Call Windowed(const char* name) const {
    auto list = [](const Triple& t) { return std::vector<int64_t>(t.begin(), t.end()); };
    return {name,
            {{"kernel", list(kernel)}, {"strides", list(strides)}, {"dilations", list(dilations)}},
            {{"before", Sizes(before.begin(), before.end())}}};
  }
};

// Calls f(tap, flat pixel) for each tap that meets a pixel of the operand at place `out` of the result.
template <typename F>
void EachTap(const Layer& l, const Triple& out, F&& f) {
  int64_t tap = 0;
  for (int64_t i = 0; i < l.kernel[0]; ++i) {
    for (int64_t j = 0; j < l.kernel[1]; ++j) {
      for (int64_t k = 0; k < l.kernel[2]; ++k, ++tap) {
        const Triple at{i, j, k};
        int64_t pixel = 0;
        bool inside = true;
        for (size_t a = 0; a < 3; ++a) {
          int64_t place = out[a] * l.strides[a] + at[a] * l.dilations[a] - l.before[a];
          if (l.transposed) {
            place = out[a] + l.before[a] - at[a] * l.dilations[a];
            inside = inside && place % l.strides[a] == 0;
            place /= l.strides[a];
          }
          inside = inside && place >= 0 && place < l.size[a];
          pixel = pixel * l.size[a] + place;
        }
        if (inside) f(tap, pixel);
      }
    }
  }
}

template <typename F>
void EachPlace(const Layer& l, F&& f) {
  const Triple out = l.Out();
  int64_t flat = 0;
  for (int64_t n = 0; n < l.batch; ++n) {
    for (int64_t i = 0; i < out[0]; ++i) {
      for (int64_t j = 0; j < out[1]; ++j) {
        for (int64_t k = 0; k < out[2]; ++k, ++flat) f(n * l.size[0] * l.size[1] * l.size[2], Triple{i, j, k}, flat);
      }
    }
  }
}

// Packs weight [taps, C, O/groups] of each group; of a transposed convolution, the taps of each phase apart.
std::shared_ptr<Prepared> Packed(const Layer& l, const std::vector<Array>& weights) {
  auto list = std::make_shared<PreparedList>();
  const Triple steps = l.transposed ? l.strides : Triple{1, 1, 1};
  for (int64_t phase = 0; phase < steps[0] * steps[1] * steps[2]; ++phase) {
    const Triple at{phase / steps[2] / steps[1], phase / steps[2] % steps[1], phase % steps[2]};
    for (const Array& weight : weights) {
      const int64_t row = weight.shape[1] * weight.shape[2] * static_cast<int64_t>(SizeOf(weight.dtype));
      std::vector<char> chosen;
      int64_t taps = 0;
      for (int64_t tap = 0; tap < l.taps(); ++tap) {
        const Triple k{tap / l.kernel[2] / l.kernel[1], tap / l.kernel[2] % l.kernel[1], tap % l.kernel[2]};
        bool met = true;
        for (size_t a = 0; a < 3; ++a) met = met && (at[a] - k[a] * l.dilations[a]) % steps[a] == 0;
        if (!met) continue;
        chosen.insert(chosen.end(), weight.bytes.begin() + tap * row, weight.bytes.begin() + (tap + 1) * row);
        ++taps;
      }
      list->items.push_back(
          PackMatrix(MatrixSource::Of(weight.dtype, chosen.data(), taps * weight.shape[1], weight.shape[2], weight.shape[2], 1)));
    }
  }
  return list;
}

void CheckConvolution(const Layer& l, DType type) {
  const int64_t in = l.channels / l.groups, out = l.made / l.groups;
  std::vector<Array> weights;
  for (int64_t g = 0; g < l.groups; ++g) weights.push_back(Random(type, {l.taps(), in, out}));
  const Array x = Random(type, l.In()), bias = Random(type, {l.made});
  Call call = l.Windowed("conv");
  call.attributes["groups"] = l.groups;
  call.attributes["transposed"] = int64_t{l.transposed};
  call.attributes["weight"] = Packed(l, weights);
  call.attributes["program"] = Program(2, 3, {{TileOp::kAdd, 2, 0, 1}}, {2});
  call.attributes["layout"] = std::string("column");
  const Array got = Run1(call, {x, bias}, type, l.Result());
  EachPlace(l, [&](int64_t image, const Triple& place, int64_t flat) {
    for (int64_t o = 0; o < l.made; ++o) {
      const int64_t g = o / out;
      double exact = bias[o], size = std::fabs(bias[o]);
      EachTap(l, place, [&](int64_t tap, int64_t pixel) {
        for (int64_t c = 0; c < in; ++c) {
          const double term = x[(image + pixel) * l.channels + g * in + c] * weights[g][(tap * in + c) * out + o % out];
          exact += term, size += std::fabs(term);
        }
      });
      REQUIRE(std::fabs(got[flat * l.made + o] - exact) <= SumBound(l.taps() * in + 1, size, type, exact));
    }
  });
}

}  // namespace

TEST_CASE("convolutions keep the contract's bound") {
  std::vector<Layer> layers(9);
  layers[0] = {1, 5, 7, {1, 9, 10}, {1, 3, 3}};
  layers[1] = {2, 32, 40, {1, 8, 9}, {1, 1, 1}};
  layers[2] = {1, 3, 20, {1, 17, 19}, {1, 7, 7}, {1, 2, 2}, {1, 1, 1}, {0, 3, 3}, {0, 3, 3}};
  layers[3] = {1, 20, 18, {1, 11, 12}, {1, 3, 3}, {1, 1, 1}, {1, 2, 3}, {0, 2, 3}, {0, 2, 3}};
  layers[4] = {1, 12, 8, {1, 6, 7}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}, 4};
  layers[5] = {2, 4, 6, {5, 6, 7}, {2, 3, 2}, {2, 1, 2}, {1, 1, 1}, {1, 1, 0}, {0, 1, 1}};
  layers[6] = {1, 40, 33, {1, 1, 30}, {1, 1, 5}, {1, 1, 3}, {1, 1, 1}, {0, 0, 2}, {0, 0, 2}};
  layers[7] = {1, 16, 16, {1, 14, 14}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}};
  layers[8] = {1, 3, 4, {1, 2, 2}, {1, 2, 2}, {1, 1, 1}, {1, 1, 1}, {0, 4, 4}, {0, 4, 4}};  // mostly padding
  for (const Layer& layer : layers) {
    for (DType type : kTypes) CheckConvolution(layer, type);
  }
}

TEST_CASE("convolutions of planes keep the contract's bound") {
  std::vector<Layer> layers(5);
  layers[0] = {1, 3, 20, {1, 17, 19}, {1, 7, 7}, {1, 2, 2}, {1, 1, 1}, {0, 3, 3}, {0, 3, 3}};
  layers[1] = {2, 1, 5, {1, 1, 700}, {1, 1, 40}, {1, 1, 3}, {1, 1, 2}, {0, 0, 30}, {0, 0, 70}};  // several blocks
  layers[2] = {1, 4, 40, {1, 9, 350}, {1, 3, 3}, {1, 1, 1}, {1, 2, 3}, {0, 2, 3}, {0, 2, 3}};
  layers[3] = {1, 3, 4, {1, 2, 2}, {1, 2, 2}, {1, 1, 1}, {1, 1, 1}, {0, 4, 4}, {0, 4, 4}};  // mostly padding
  layers[4] = {2, 4, 33, {1, 5, 6}, {1, 1, 1}};
  for (const Layer& l : layers) {
    for (DType type : kTypes) {
      const int64_t taps = l.taps(), pixels = l.size[1] * l.size[2];
      const Array x = Random(type, {l.batch, l.channels, l.size[1], l.size[2]}), bias = Random(type, {l.made});
      const Array weight = Random(DType::kF32, {l.channels * taps, l.made});
      Call call = l.Windowed("conv_planes");
      call.attributes["weight"] = std::shared_ptr<Prepared>(
          PackMatrix(MatrixSource::Of(weight.dtype, weight.bytes.data(), weight.shape[0], l.made, l.made, 1)));
      call.attributes["program"] = Program(2, 3, {{TileOp::kAdd, 2, 0, 1}}, {2});
      call.attributes["layout"] = std::string("column");
      const Array got = Run1(call, {x, bias}, type, l.Result());
      EachPlace(l, [&](int64_t image, const Triple& place, int64_t flat) {
        for (int64_t o = 0; o < l.made; ++o) {
          double exact = bias[o], size = std::fabs(bias[o]);
          EachTap(l, place, [&](int64_t tap, int64_t pixel) {
            for (int64_t c = 0; c < l.channels; ++c) {
              const double term = x[image * l.channels + c * pixels + pixel] * weight[(c * taps + tap) * l.made + o];
              exact += term, size += std::fabs(term);
            }
          });
          REQUIRE(std::fabs(got[flat * l.made + o] - exact) <= SumBound(taps * l.channels + 1, size, type, exact));
        }
      });
    }
  }
}

TEST_CASE("a pointwise convolution multiplies by factors as it reads") {
  // Images of 30 pixels: tiles of rows reach over their borders.
  const Layer l{3, 37, 20, {1, 5, 6}, {1, 1, 1}};
  for (DType type : kTypes) {
    for (int64_t own : {0, 1}) {  // factors of all images, or of each
      const Array x = Random(type, l.In()), factors = Random(type, {own ? l.batch : 1, l.channels});
      const Array weight = Random(type, {1, l.channels, l.made});
      Call call = l.Windowed("conv");
      call.attributes["groups"] = int64_t{1};
      call.attributes["transposed"] = int64_t{0};
      call.attributes["scaled"] = int64_t{1};
      call.attributes["weight"] = Packed(l, {weight});
      const Array got = Run1(call, {x, factors}, type, l.Result());
      for (int64_t row = 0; row < l.batch * 30; ++row) {
        for (int64_t o = 0; o < l.made; ++o) {
          double exact = 0, size = 0;
          for (int64_t c = 0; c < l.channels; ++c) {
            const double term = x[row * l.channels + c] * factors[own * (row / 30) * l.channels + c] * weight[c * l.made + o];
            exact += term, size += std::fabs(term);
          }
          // A factor's product is rounded too.
          REQUIRE(std::fabs(got[row * l.made + o] - exact) <= SumBound(l.channels, 2 * size, type, exact));
        }
      }
      CHECK_THROWS_AS(Run(call, {x, Array(type, {2, l.channels})}, {Array(type, l.Result())}), Error);
    }
  }
}

TEST_CASE("transposed convolutions keep the contract's bound") {
  std::vector<Layer> layers(5);
  layers[0] = {1, 5, 7, {1, 6, 5}, {1, 3, 3}};
  layers[1] = {2, 9, 6, {1, 5, 4}, {1, 2, 2}, {1, 2, 2}};
  layers[2] = {1, 6, 8, {1, 5, 6}, {1, 4, 3}, {1, 2, 3}, {1, 1, 1}, {0, 1, 1}, {0, 1, 0}, 2};
  layers[3] = {1, 3, 4, {2, 3, 4}, {2, 3, 3}, {1, 2, 2}, {1, 2, 1}, {0, 2, 1}, {0, 1, 1}};
  layers[4] = {1, 3, 4, {1, 4, 4}, {1, 2, 2}, {1, 3, 3}};  // some places meet no tap
  for (Layer layer : layers) {
    layer.transposed = true;
    for (DType type : kTypes) CheckConvolution(layer, type);
  }
}

TEST_CASE("Winograd's filters err by less than half a float16 ulp of the largest term") {
  std::vector<Layer> layers(4);
  layers[0] = {1, 16, 16, {1, 9, 10}, {1, 3, 3}};
  layers[1] = {2, 40, 33, {1, 13, 14}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}};
  layers[2] = {1, 300, 18, {1, 7, 8}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 0}, {0, 0, 1}};
  layers[3] = {1, 17, 70, {1, 1, 2}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}};
  for (const Layer& l : layers) {
    for (int64_t tile : {2, 4}) {
      const Array x = Random(DType::kF16, l.In()), weight = Random(DType::kF16, {l.made, l.channels, 3, 3});
      Call call = l.Windowed("winograd");
      call.attributes["weight"] = std::shared_ptr<Prepared>(TransformWeight(weight.bytes.data(), l.made, l.channels, tile));
      const Array got = Run1(call, {x}, DType::kF16, l.Result());
      EachPlace(l, [&](int64_t image, const Triple& place, int64_t flat) {
        for (int64_t o = 0; o < l.made; ++o) {
          double exact = 0, largest = 0;
          EachTap(l, place, [&](int64_t tap, int64_t pixel) {
            for (int64_t c = 0; c < l.channels; ++c) {
              const double term = x[(image + pixel) * l.channels + c] * weight[(o * l.channels + c) * 9 + tap];
              exact += term, largest = std::max(largest, std::fabs(term));
            }
          });
          const double bound = Rounding(DType::kF16, largest) + Rounding(DType::kF16, exact);
          REQUIRE(std::fabs(got[flat * l.made + o] - exact) <= bound);
        }
      });
    }
  }
}

TEST_CASE("depthwise convolutions keep the contract's bound") {
  std::vector<Layer> layers(7);
  layers[0] = {1, 5, 5, {1, 9, 10}, {1, 3, 3}};
  layers[1] = {2, 70, 70, {1, 12, 13}, {1, 3, 3}, {1, 1, 1}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}};
  layers[2] = {1, 16, 16, {1, 15, 16}, {1, 5, 5}, {1, 2, 2}, {1, 1, 1}, {0, 2, 1}, {0, 2, 2}};
  layers[3] = {1, 130, 130, {1, 10, 9}, {1, 7, 7}, {1, 1, 1}, {1, 1, 1}, {0, 3, 3}, {0, 3, 3}};
  layers[4] = {1, 6, 18, {1, 8, 8}, {1, 3, 3}, {1, 1, 1}, {1, 2, 2}, {0, 2, 2}, {0, 2, 2}};  // three results a channel
  layers[5] = {1, 8, 8, {4, 6, 5}, {3, 2, 3}, {1, 2, 1}, {1, 1, 1}, {1, 0, 1}, {1, 1, 1}};
  layers[6] = {3, 33, 33, {1, 1, 40}, {1, 1, 9}, {1, 1, 1}, {1, 1, 1}, {0, 0, 8}, {0, 0, 0}};
  for (const Layer& l : layers) {
    for (DType type : kTypes) {
      const Array x = Random(type, l.In()), weight = Random(type, {l.taps(), l.made});
      const Array got = Run1(l.Windowed("depthwise"), {x, weight}, type, l.Result());
      EachPlace(l, [&](int64_t image, const Triple& place, int64_t flat) {
        for (int64_t o = 0; o < l.made; ++o) {
          double exact = 0, size = 0;
          EachTap(l, place, [&](int64_t tap, int64_t pixel) {
            const double term = x[(image + pixel) * l.channels + o / (l.made / l.channels)] * weight[tap * l.made + o];
            exact += term, size += std::fabs(term);
          });
          REQUIRE(std::fabs(got[flat * l.made + o] - exact) <= SumBound(l.taps(), size, type, exact));
        }
      });
    }
  }
}

TEST_CASE("pooling takes the greatest, the mean and the norm of each window") {
  std::vector<Layer> layers(5);
  layers[0] = {1, 5, 5, {1, 9, 10}, {1, 3, 3}};
  layers[1] = {2, 70, 70, {1, 7, 8}, {1, 3, 3}, {1, 2, 2}, {1, 1, 1}, {0, 1, 1}, {0, 1, 1}};
  layers[2] = {1, 33, 33, {1, 20, 20}, {1, 20, 20}};  // the whole image: 400 terms
  layers[3] = {1, 9, 9, {4, 5, 6}, {2, 2, 3}, {2, 1, 2}, {1, 1, 1}, {1, 0, 1}, {0, 1, 2}};
  layers[4] = {3, 300, 300, {1, 1, 12}, {1, 1, 4}, {1, 1, 4}};
  for (const Layer& l : layers) {
    for (DType type : kTypes) {
      const Array x = Random(type, l.In());
      for (const std::string kind : {"max_pool", "avg_pool", "l2_pool"}) {
        for (bool counts : {false, true}) {
          Call call = l.Windowed(kind.c_str());
          call.attributes["counts"] = int64_t{counts};
          call.sizes["after"] = Sizes(l.after.begin(), l.after.end());
          const Array got = Run1(call, {x}, type, l.Result());
          EachPlace(l, [&](int64_t image, const Triple& place, int64_t flat) {
            for (int64_t c = 0; c < l.channels; ++c) {
              double sum = 0, size = 0, top = -HUGE_VAL;
              int64_t met = 0;
              EachTap(l, place, [&](int64_t, int64_t pixel) {
                const double value = x[(image + pixel) * l.channels + c], term = kind == "l2_pool" ? value * value : value;
                sum += term, size += std::fabs(term), ++met;
                top = std::max(top, value);
              });
              const double count = static_cast<double>(counts ? l.taps() : met), result = got[flat * l.channels + c];
              const double exact = kind == "max_pool" ? top : kind == "avg_pool" ? sum / count : std::sqrt(sum);
              const double share = kind == "avg_pool" ? 1 / count : 0.5 / std::max(exact, 1e-30);
              const double bound = kind == "max_pool" ? 0 : 4 * std::sqrt(met) * std::ldexp(size, -24) * share;
              REQUIRE(std::fabs(result - exact) <= bound + 2 * Rounding(type, exact) * (kind != "max_pool"));
            }
          });
        }
      }
    }
  }
}

TEST_CASE("resizing takes the nearest pixel or blends four") {
  // UNALIGN_CORNERS: place i of m lies at (i + 1/2)·n/m - 1/2 in the operand, held inside.
  for (DType type : kTypes) {
    for (const auto& [from, to] : std::initializer_list<std::pair<int64_t, int64_t>>{{3, 7}, {8, 4}, {5, 5}, {1, 3}, {6, 1}}) {
      const Array x = Random(type, {2, from, from + 1, 19});
      const Call call{"resize", {{"grid", std::string("UNALIGN_CORNERS")}, {"linear", int64_t{1}}}, {}};
      const Array got = Run1(call, {x}, type, {2, to, to + 2, 19});
      auto sample = [](int64_t i, int64_t n, int64_t m) {
        const double at = (static_cast<double>(i) + 0.5) * static_cast<double>(n) / static_cast<double>(m) - 0.5;
        return std::clamp(at, 0.0, static_cast<double>(n - 1));
      };
      for (int64_t flat = 0; flat < got.size(); ++flat) {
        const int64_t c = flat % 19, j = flat / 19 % (to + 2), i = flat / 19 / (to + 2) % to, n = flat / 19 / (to + 2) / to;
        const double y = sample(i, from, to), z = sample(j, from + 1, to + 2);
        double exact = 0, size = 0;
        for (int64_t r = 0; r < from; ++r) {
          for (int64_t s = 0; s <= from; ++s) {
            const double weight = std::max(0.0, 1 - std::fabs(y - static_cast<double>(r))) *
                                  std::max(0.0, 1 - std::fabs(z - static_cast<double>(s)));
            const double term = weight * x[((n * from + r) * (from + 1) + s) * 19 + c];
            exact += term, size += std::fabs(term);
          }
        }
        REQUIRE(std::fabs(got[flat] - exact) <= SumBound(4, size, type, exact));
      }
    }
  }
}

TEST_CASE("images that do not fit are errors") {
  const Layer l{1, 4, 4, {1, 6, 6}, {1, 3, 3}};
  const Array weight = Random(DType::kF32, {9, 4, 4}), x(DType::kF32, l.In()), y(DType::kF32, l.Result());
  auto conv = [&](const Layer& layer, int64_t groups) {
    Call call = layer.Windowed("conv");
    call.attributes["groups"] = groups;
    call.attributes["transposed"] = int64_t{0};
    call.attributes["weight"] = Packed(layer, {weight});
    return call;
  };
  CHECK_NOTHROW(Run(conv(l, 1), {x}, {y}));
  CHECK_THROWS_AS(Run(conv(l, 2), {x}, {y}), Error);
  CHECK_THROWS_AS(Run(conv(l, 0), {x}, {y}), Error);
  CHECK_THROWS_AS(Run(conv(l, 1), {Array(DType::kF32, {1, 1, 6, 6, 5})}, {y}), Error);
  CHECK_THROWS_AS(Run(conv(l, 1), {Array(DType::kF32, {2, 1, 6, 6, 4})}, {y}), Error);
  CHECK_THROWS_AS(Run(conv(l, 1), {Array(DType::kF32, {6, 4})}, {y}), Error);
  for (const char* name : {"strides", "kernel", "dilations"}) {
    Call call = conv(l, 1);
    call.attributes[name] = std::vector<int64_t>{1, 0, 1};
    CHECK_THROWS_AS(Run(call, {x}, {y}), Error);
  }
  Call pool = l.Windowed("max_pool");
  pool.attributes["counts"] = int64_t{0};
  pool.sizes["after"] = {0, 0, 0};
  CHECK_THROWS_AS(Run(pool, {x}, {Array(DType::kF16, l.Result())}), Error);
  CHECK_THROWS_AS(Run(pool, {x}, {Array(DType::kF32, {1, 1, 4, 4, 5})}), Error);
  const Call depthwise = l.Windowed("depthwise");
  CHECK_THROWS_AS(Run(depthwise, {x, Array(DType::kF32, {8, 4})}, {y}), Error);
  CHECK_THROWS_AS(Run(depthwise, {x, Array(DType::kF32, {9, 5})}, {y}), Error);
  const Call resize{"resize", {{"grid", std::string("no such grid")}, {"linear", int64_t{1}}}, {}};
  CHECK_THROWS_AS(Run(resize, {Array(DType::kF32, {1, 2, 2, 3})}, {Array(DType::kF32, {1, 4, 4, 3})}), Error);
}

}  // namespace gristmill::test
