// Indices that are known only while the model runs.
#pragma once

#include <cstdint>

#include "core/types.h"

namespace gristmill {

inline int64_t IndexAt(const Tensor& indices, int64_t i) {
  switch (indices.dtype) {
    case DType::kI32:
      return indices.as<int32_t>()[i];
    case DType::kI16:
      return indices.as<int16_t>()[i];
    case DType::kU16:
      return indices.as<uint16_t>()[i];
    case DType::kI8:
      return indices.as<int8_t>()[i];
    default:
      return indices.as<uint8_t>()[i];
  }
}

}  // namespace gristmill
