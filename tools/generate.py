"""Writes what is derived from the code: pages of ``docs/`` and the builder's type stubs.

python -m tools.generate            # writes the files
python -m tools.generate --check    # fails when a file is not what would be written
"""

from __future__ import annotations

import argparse
import inspect
import keyword
import sys
from pathlib import Path

import gristmill.ops
from gristmill.devices.reference import ReferenceDevice
from gristmill.ir import registry
from gristmill.ir.op import Op
from gristmill.ir.opset import Opset
from gristmill.ir.signature import ByOpset, Const, Operand, Param, TypeVar, Variadic
from gristmill.ir.types import DType, unit_float
from gristmill.package.network_writer.registry import WRITINGS
from tools import coremltools_names, model_types, sklearn_page

ROOT = Path(__file__).parent.parent


# --- docs/ops.md ---------------------------------------------------------------------------------------------------

OPS_HEAD = """\
# Ops

Every op of Core ML's programs that Gristmill knows, derived from the op classes by `python -m tools.generate`.

*Opsets*: the first generation that has the op; ML Programs begin with iOS 15, and iOS 26 has the ops of iOS 18. A
change of operands, defaults or types in a later generation is named. *Types* are those of the first operand, in the
newest opset. *Devices* that run it: `reference` is NumPy, by definition. *Network*: whether a neural network holds it
(`convert_to="neuralnetwork"`), with few exceptions that [neural-networks.md](neural-networks.md) names.
"""


def ops_page() -> str:
    lines = [OPS_HEAD]
    total = 0
    for family in gristmill.ops.FAMILIES:
        about = (family.__doc__ or "").strip().splitlines()[0].rstrip(".")
        lines += [
            f"## {about}",
            "",
            "| op | meaning | opsets | types | devices | network |",
            "|---|---|---|---|---|---|",
        ]
        for cls in sorted(family.OPS, key=lambda c: c.op_name):
            total += 1
            held = "yes" if cls in WRITINGS else "—"
            row = (f"`{cls.op_name}`", _summary(cls), _opsets(cls), _types(cls), _devices(cls), held)
            lines.append(f"| {' | '.join(row)} |")
        lines.append("")
    lines.append(f"{total} ops, and `const`.")
    return "\n".join(lines) + "\n"


def _summary(cls: type[Op]) -> str:
    text = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    return text.replace("``", "`").replace("|", "\\|")


def _opsets(cls: type[Op]) -> str:
    first = max(cls.since, Opset.iOS15) if cls.until is None else cls.since
    text = str(first) + (f" to before {cls.until}" if cls.until else "")
    changes = sorted({opset for param in cls.params.values() for opset in _changes(param)} - {cls.since})
    later = [str(opset) for opset in changes if opset > first]
    return text + (f"; changed in {', '.join(later)}" if later else "")


def _changes(param: Param) -> set[Opset]:
    found = {opset for opset in (param.since, param.until) if opset is not None}
    if isinstance(param.constraint, ByOpset):
        found |= set(param.constraint)
    if isinstance(param, Const) and isinstance(param.default, ByOpset):
        found |= set(param.default)
    if isinstance(param.constraint, TypeVar):
        found |= {since for since, _ in param.constraint.alternatives if since is not None}
    return found


def _types(cls: type[Op]) -> str:
    for param in cls.params.values():
        allowed = param.allowed(max(Opset)) if not isinstance(param, Const) else None
        if allowed and param.present(max(Opset)):
            return _names(allowed)
    return "any" if cls.params else "—"


def _names(dtypes: tuple[DType, ...]) -> str:
    return ", ".join(dict.fromkeys(d.name for d in dtypes if d != unit_float))


def _devices(cls: type[Op]) -> str:
    runs = cls.reference is not Op.reference or cls.control is not Op.control
    return ReferenceDevice.name if runs else "—"


# --- op_methods.pyi ------------------------------------------------------------------------------------------------

STUB_HEAD = '''\
"""Generated from the op classes by `python -m tools.generate`; do not edit."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from gristmill.ir.constants import Constant, Data
from gristmill.ir.program import Block, Value

Tensor: TypeAlias = Value | Constant | Data | np.ndarray[Any, np.dtype[Any]] | Sequence[Any] | bool | int | float | str

class OpMethods:
    def op(self, op_name: str, *, name: str | None = None, blocks: Sequence[Block] = (), **operands: Any) -> Any: ...
    def __getattr__(self, op_name: str) -> Any: ...
'''


def stub() -> str:
    lines = [STUB_HEAD.rstrip()]
    for cls in registry.all_ops():
        if cls.op_name != "const" and cls.op_name.isidentifier() and not keyword.iskeyword(cls.op_name):
            lines += _method(cls)
    return "\n".join(lines) + "\n"


def _method(cls: type[Op]) -> list[str]:
    params = sorted(cls.params.values(), key=lambda p: p.optional)
    lines = [f"    def {cls.op_name}(", "        self,", "        *,"]
    lines += [f"        {p.name}: {_annotation(p)}{' = None' if p.optional else ''}," for p in params]
    lines += ["        name: str | None = None,", "        blocks: Sequence[Block] = (),", "    ) -> Any: ..."]
    return lines


def _annotation(param: Param) -> str:
    if isinstance(param, Variadic):
        text = "Sequence[Tensor]"
    elif isinstance(param, Const):
        kind = param.kind.__name__ if param.kind is not float else "float"
        text = (
            f"Value | Constant | np.generic | {f'Sequence[{kind}] | np.ndarray[Any, Any]' if param.sequence else kind}"
        )
    else:
        assert isinstance(param, Operand) or param.optional
        text = "Tensor"
    return f"{text} | None" if param.optional else text


# --- files ---------------------------------------------------------------------------------------------------------

FILES = {
    ROOT / "docs" / "ops.md": ops_page,
    ROOT / "docs" / "model-types.md": model_types.page,
    ROOT / "docs" / "sklearn.md": sklearn_page.page,
    ROOT / "docs" / "coremltools-names.md": lambda: coremltools_names.page(coremltools_names.examine_all()),
    ROOT / "src" / "gristmill" / "ir" / "op_methods.pyi": stub,
}


def stale() -> list[Path]:
    """Files that are not what would be written."""
    return [path for path, make in FILES.items() if not path.exists() or path.read_text(encoding="utf-8") != make()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is stale")
    if parser.parse_args().check:
        found = stale()
        for path in found:
            print(f"{path.relative_to(ROOT)} is stale: run `python -m tools.generate`")
        return 1 if found else 0
    for path, make in FILES.items():
        path.write_text(make(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
