#!/usr/bin/env bash
# Renews requirements/constraints.txt: installs the newest versions of everything the project needs into an empty
# environment and writes down what came. Usage: make lock
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT
"${PYTHON:-python3.11}" -m venv "$venv"
"$venv/bin/pip" install --quiet --upgrade pip
"$venv/bin/pip" install --group dev --group zoo
{
  echo "# Every version that the project is built and tested with. Written by scripts/lock.sh."
  # A local version (+cpu) is a machine's choice of build; the platform packages of a GPU build come with that choice.
  "$venv/bin/pip" freeze --all | sed 's/+[a-z0-9.]*$//' | grep -viE '^(nvidia-|cuda-|triton)'
} >requirements/constraints.txt
