#!/usr/bin/env bash
# Prints the first Python on this machine that the project supports.
set -euo pipefail

for python in python3.11 python3.12 python3.13 python3 python; do
  if "$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
    command -v "$python"
    exit
  fi
done
echo "Gristmill needs Python 3.11, 3.12 or 3.13 with venv; set PYTHON to one." >&2
exit 1
