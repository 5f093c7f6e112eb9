// Element-wise groups: a short program over registers of one tile each.
//
// A group of element-wise ops becomes one program. A register holds one tile of values: float32, or 32-bit integers, or
// truth values as 0 and 1. The program runs on a tile that fits the first-level cache, so the group reads each operand
// and writes each result once. The same programs are the epilogues of matrix products and convolutions (epilogue.h).
#pragma once

#include <cstdint>
#include <vector>

#include "core/kernel.h"

namespace gristmill {

// Steps; `x`, `y`, `z` are registers, `p`, `q` immediate numbers. Every step computes in float32 or in integers modulo
// 2³²; kRoundHalf rounds to float16's values.
#define GRISTMILL_TILE_OPS(X)                                                                                       \
  X(Constant) X(ConstantInt) X(RoundHalf)                                                                           \
  X(Add) X(Sub) X(Mul) X(Div) X(Max) X(Min)                                                                         \
  X(AddP) X(MulP) X(MulAddPQ) X(Clip) X(Relu) X(LeakyRelu)                                                          \
  X(Abs) X(Square) X(Sqrt) X(Rsqrt) X(Inverse)                                                                      \
  X(Exp) X(Tanh) X(Sigmoid) X(Silu) X(SigmoidForHalf) X(SiluForHalf) X(Gelu) X(GeluForHalf) X(GeluTanh) X(GeluSigmoid) X(Erf) X(HardSigmoid)                        \
  X(Floor) X(Ceil) X(Round) X(Sign) X(MaxP) X(Select)                                                               \
  X(Equal) X(NotEqual) X(Less) X(LessEqual)                                                                         \
  X(AddInt) X(SubInt) X(MulInt) X(MaxInt) X(MinInt) X(EqualInt) X(NotEqualInt) X(LessInt) X(LessEqualInt)           \
  X(And) X(Or) X(Xor) X(Not) X(FloatToInt) X(IntToFloat) X(FloatToBool) X(IntToBool)                                \
  X(Log) X(Pow) X(Exp2) X(Sin) X(Cos) X(Tan) X(Asin) X(Acos) X(Atan) X(Sinh) X(Cosh) X(Atanh) X(Softplus) X(Elu)

enum class TileOp : uint8_t {
#define GRISTMILL_ENUM(name) k##name,
  GRISTMILL_TILE_OPS(GRISTMILL_ENUM)
#undef GRISTMILL_ENUM
};

// Throws Error for an unknown name.
TileOp TileOpByName(const std::string& name);

struct TileStep {
  TileOp op;
  uint8_t to = 0, x = 0, y = 0, z = 0;
  float p = 0, q = 0;
};

constexpr size_t kMaxRegisters = 32;

struct TileProgram : Prepared {
  int inputs = 0;              // registers 0 … inputs-1 are loaded before the first step and never written
  int registers = 0;           // how many there are
  std::vector<TileStep> steps;
  std::vector<int> outputs;    // the register of each result

  size_t bytes() const override { return steps.size() * sizeof(TileStep); }
  // Throws Error when a step names a register that is not there.
  void Check() const;
};

// Elements of one tile: with a handful of registers it stays in the first-level cache.
constexpr size_t kTile = 512;

// Registers of one thread. `value[r]` is where register r is: its own storage, or the operand itself.
struct TileRegisters {
  alignas(64) float storage[kMaxRegisters][kTile];
  float* value[kMaxRegisters];
};

// Loads `count` elements into a register: neighbours, every `stride`th one, or the same one again (stride 0).
void LoadTile(DType dtype, const void* from, int64_t stride, float* to, size_t count);
// Stores a register, rounding floats to nearest even and wrapping integers.
void StoreTile(DType dtype, const float* from, void* to, size_t count);
// Runs all steps on `count` elements (up to kTile); registers are computed up to a whole number of vectors.
void RunTile(const TileProgram& program, float* const* registers, size_t count);

}  // namespace gristmill
