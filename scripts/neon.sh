#!/usr/bin/env bash
# Builds the native tests for AArch64 and runs them with NEON under qemu. Debian and Ubuntu:
#
#   dpkg --add-architecture arm64 && apt-get update
#   apt-get install doctest-dev g++-aarch64-linux-gnu libhwy-dev:arm64 qemu-user
set -euo pipefail
cd "$(dirname "$0")/.."
cmake -S native -B build/neon -G Ninja -DGRISTMILL_NATIVE_TESTS=ON -DCMAKE_SYSTEM_NAME=Linux \
  -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++ >/dev/null
cmake --build build/neon
# Left out: what measures load, which emulation has of its own, and fork, after which qemu starts no threads.
GRISTMILL_ISA=neon qemu-aarch64 build/neon/tests/native_tests --test-case-exclude="*idle*,*fork*" "$@"
