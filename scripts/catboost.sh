#!/usr/bin/env bash
# Runs the tests that need CatBoost itself, which is too large for the tests' environment: scripts/catboost.sh [options]
# It is installed in a folder of its own, beside the project's packages.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
# Without what it only draws with; everything else it needs is there.
.venv/bin/python -m pip install --quiet --no-deps --target "$folder" catboost graphviz pandas plotly python-dateutil six
PYTHONPATH="$folder" .venv/bin/python -m pytest -q -p no:cacheprovider tests/converters/test_catboost.py "$@"
