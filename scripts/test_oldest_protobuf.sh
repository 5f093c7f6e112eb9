#!/usr/bin/env bash
# Runs the tests of the file format with the oldest protobuf that is supported, installed from a wheel into an
# environment of its own. The project's environment pins the newest. Usage: make test-protobuf
set -euo pipefail
cd "$(dirname "$0")/.."

project=.venv/bin/python
venv=.venv-oldest-protobuf
oldest=4.25.0
constraints=$(mktemp)
wheel_dir=$(mktemp -d)
trap 'rm -rf "$constraints" "$wheel_dir"' EXIT

[ -x "$venv/bin/python" ] || "$project" -m venv "$venv"
grep -v '^protobuf==' requirements/constraints.txt >"$constraints"
"$project" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$wheel_dir" .
"$venv/bin/python" -m pip install --quiet --constraint "$constraints" \
  "protobuf==$oldest" pytest hypothesis coremltools==9.0
"$venv/bin/python" -m pip install --quiet --no-deps --force-reinstall "$wheel_dir"/gristmill-*.whl
"$venv/bin/python" -m pytest -q -p no:cacheprovider tests/package/test_import_order.py
