#!/usr/bin/env bash
# Writes the type stub of the native module from the module itself: after a change to native/bindings.
set -euo pipefail
cd "$(dirname "$0")/.."
stub=src/gristmill/devices/cpu/_native.pyi
.venv/bin/python -m nanobind.stubgen -q -m gristmill.devices.cpu._native -o "$stub"
sed -i -E 's/-> list:/-> list[tuple[int, float, float, float, float, float, str]]:/; s/-> tuple:/-> tuple[int, float, int]:/; s/attributes: dict,/attributes: dict[str, object],/; s/Annotated\[NDArray(\[numpy\.[a-z0-9_]+\])?, dict\(([^()]|\([^()]*\))*\)\]/NDArray[Any]/g; /^import numpy$/d; s/^from typing import Annotated/from typing import Any/' "$stub"
.venv/bin/ruff check -q --fix --unsafe-fixes --select D200 "$stub"  # short docstrings on one line
.venv/bin/ruff format -q "$stub"
