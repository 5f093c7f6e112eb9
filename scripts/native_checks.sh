#!/usr/bin/env bash
# Builds the native tests with ThreadSanitizer, and with AddressSanitizer and UndefinedBehaviorSanitizer, and runs them;
# then runs the CPU device's tests on an extension built with AddressSanitizer. Anything that a sanitizer finds fails.
#
# Needs doctest (Debian: doctest-dev) beside what a build needs; the last part also the environment that `make venv` makes.
# Kernels are compiled for this machine's instruction set alone: what sanitizers look for is the same in all.
#
#   scripts/native_checks.sh [thread] [address] [extension]     all three when none is named
set -euo pipefail
cd "$(dirname "$0")/.."
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(thread address extension)
here="-O1 -g -fno-omit-frame-pointer -march=native -DHWY_COMPILE_ONLY_STATIC"

# build NAME FLAGS: the native tests in build/NAME
build() {
  cmake -S native -B "build/$1" -G Ninja -DGRISTMILL_NATIVE_TESTS=ON -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS="$here $2" >/dev/null
  cmake --build "build/$1"
}

for part in "${parts[@]}"; do
  echo "== $part"
  case "$part" in
    thread)
      # A child of a process with threads may start threads of its own here: that is what is tested.
      build sanitize-thread "-fsanitize=thread"
      TSAN_OPTIONS=halt_on_error=1:die_after_fork=0 build/sanitize-thread/tests/native_tests
      ;;
    address)
      build sanitize-address "-fsanitize=address,undefined -fno-sanitize-recover=all"
      UBSAN_OPTIONS=print_stacktrace=1 build/sanitize-address/tests/native_tests
      ;;
    extension)
      # In an environment of its own that sees the other packages of .venv but not the gristmill installed there.
      own=build/sanitize-extension
      [ -x $own/venv/bin/python ] || .venv/bin/python -m venv --without-pip $own/venv
      .venv/bin/python -c 'import sys; print(*(p for p in sys.path if p.endswith("site-packages")), sep="\n")' \
        >"$($own/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/others.pth"
      $own/venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --ignore-installed \
        --config-settings=build-dir=$own/build --config-settings=cmake.build-type=None \
        --config-settings=cmake.args="-DCMAKE_CXX_FLAGS=$here -fsanitize=address" .
      # The interpreter frees little at its end, so leaks are not looked for. There is only one instruction set here.
      LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 \
        $own/venv/bin/python -m pytest tests/devices -q -p no:cacheprovider --timeout 600 -k "not instruction_set"
      ;;
    *)
      echo "no such part: $part (thread, address, extension)" >&2
      exit 2
      ;;
  esac
done
