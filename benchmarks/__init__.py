"""Measurements of speed and memory that the project's claims rest on."""

from __future__ import annotations

import compileall
from importlib.util import find_spec


def compile_package() -> None:
    """Compiles Gristmill's modules to bytecode, as installing a package does; an editable one is not."""
    spec = find_spec("gristmill")
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        compileall.compile_dir(folder, quiet=2)
