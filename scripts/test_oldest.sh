#!/usr/bin/env bash
# Installs the built wheel beside the oldest supported version of each of its dependencies, in an environment of its
# own, and runs there what must not depend on newer ones. The project's environment pins the newest.
# Usage: make test-oldest
set -euo pipefail
cd "$(dirname "$0")/.."

project=.venv/bin/python
venv=.venv-oldest
install="$project -m pip --python $venv/bin/python install --quiet --no-compile"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The lower bounds of pyproject.toml as exact versions, and the pins of everything else.
oldest=$("$project" -c '
import tomllib
print(*(bound.replace(">=", "==") for bound in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]))')
names=$(echo "$oldest" | sed -E 's/==[^ ]*//g; s/ /|/g')
grep -vE "^($names)==" requirements/constraints.txt >"$scratch/constraints.txt"

[ -x "$venv/bin/python" ] || "$project" -m venv --without-pip "$venv"
"$project" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$scratch" .
# shellcheck disable=SC2086 # lists of words
$install --constraint "$scratch/constraints.txt" $oldest pytest pytest-timeout hypothesis filelock coremltools
# shellcheck disable=SC2086
$install --no-deps --force-reinstall "$scratch"/gristmill-*.whl
"$venv/bin/python" -m pytest -q -p no:cacheprovider tests/package/test_import_order.py
