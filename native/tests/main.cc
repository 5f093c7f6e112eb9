// Runs the native tests on the instruction set that GRISTMILL_ISA names, or the best one.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "simd/isa.h"

int main(int argc, char** argv) {
  try {
    gristmill::ChooseIsa();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
  }
  std::printf("instruction set: %s\n", gristmill::IsaName().c_str());
  return doctest::Context(argc, argv).run();
}
