#!/usr/bin/env bash
# Runs a collection of conformance cases: scripts/conformance.sh DIR [--every N] [pytest options]
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:?usage: scripts/conformance.sh DIR [--every N] [pytest options]}
shift
every=1
if [ "${1:-}" = --every ]; then
  every=$2
  shift 2
fi
GRISTMILL_CONFORMANCE=$(realpath "$folder") GRISTMILL_CONFORMANCE_EVERY=$every OMP_NUM_THREADS=1 \
  exec .venv/bin/python -m pytest tests/conformance -q -n 2 "$@"
