"""Models for the tests of reports, and what a plan and an inspection would say of them."""

from __future__ import annotations

from typing import Any

import numpy as np

import gristmill as ct
from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Location, Program
from gristmill.ir.types import TensorType, fp16
from gristmill.package import Package

WEIGHT = np.linspace(-2, 3, 64 * 64).reshape(64, 64).astype(np.float16)
HOSTILE = "</script><script>hacked = 1</script><img src=x onerror='hacked = 1'>\u2028\"'`${hacked = 1}"


def model(hostile: str = "", *, last: str = "tanh", names: str = "") -> ct.models.MLModel:
    """A product, a choice between two blocks, and another op after it; names get what is hostile at their ends."""
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp16, (1, 64))}, Opset.iOS17) as (x,):
        with mb.located(Location(module=f"net.layer{hostile}", file="net.py", line=7, source="aten.linear")):
            product = mb.linear(x=x, weight=WEIGHT, name=f"product{names}{hostile}")
        with mb.nested() as yes:
            mb.output(mb.exp(x=product, name=f"inside{hostile}"))
        with mb.nested() as no:
            mb.output(mb.identity(x=product, name="other"))
        sign = mb.greater(x=mb.reduce_sum(x=product, name="sum"), y=np.float16(0), name="sign")
        chosen = mb.cond(pred=sign, blocks=[yes, no], name="chosen")
        mb.output(mb.op(last, x=chosen, name="y"))
    package = Package.from_program(program)
    package.description.metadata.shortDescription = f"A model{hostile}"
    return ct.models.MLModel(package)


def chain(count: int) -> ct.models.MLModel:
    """A long row of small residual blocks, and an input that all of them use."""
    program = Program()
    inputs = {"x": TensorType(fp16, (1, 8)), "scale": TensorType(fp16, (1, 8))}
    with mb.function(program, "main", inputs, Opset.iOS17) as (x, scale):
        for _ in range(count // 3):
            x = mb.add(x=x, y=mb.relu(x=mb.mul(x=x, y=scale)))
        mb.output(x)
    return ct.models.MLModel(Package.from_program(program))


UNITS = {"product": "neural_engine", "sum": "gpu", "sign": "cpu", "chosen": "cpu", "y": "neural_engine"}


def plan() -> dict[str, Any]:
    """As ``gristmill plan --json`` writes it."""
    refusal = {"neural_engine": {"reason": "control flow does not run there", "fix": "export both branches"}}
    ops = [
        {
            "name": name,
            "type": "op",
            "unit": unit,
            "supported": [unit],
            "refusals": refusal if unit == "cpu" else {},
            "cost": 2e-6 * (place + 1),
            "costs": {unit: 2e-6 * (place + 1)},
        }
        for place, (name, unit) in enumerate(UNITS.items())
    ]
    return {
        "notes": ["Placement is a model."],
        "function": "main",
        "target": "A17",
        "units": ["cpu", "gpu", "neural_engine"],
        "cost": 1e-4,
        "shares": {unit: {"count": 2, "ops": 0.4, "cost": 0.4} for unit in ("cpu", "gpu", "neural_engine")},
        "ops": ops,
        "segments": [
            {"unit": "neural_engine", "ops": ["product"], "inputs": ["x"], "outputs": ["product"], "cost": 1e-5},
            {"unit": "cpu", "ops": ["sign", "chosen"], "inputs": ["sum"], "outputs": ["chosen"], "cost": 2e-5},
        ],
        "transfers": [
            {
                "value": "product",
                "type": "fp16",
                "source": "neural_engine",
                "destination": "gpu",
                "bytes": 128,
                "cost": 1e-6,
            }
        ],
    }


def inspection() -> dict[str, Any]:
    """As an ``Inspection`` writes itself: the product overflows."""

    def row(name: str, snr: float, **more: Any) -> dict[str, Any]:
        figures = {"snr_db": snr, "psnr_db": snr + 5, "max_abs": 0.5, "cosine": 0.99}
        usual = {"low": -3.0, "high": 70000.0, "overflow": 0.0, "underflow": 0.0, "nan": 0.0, "share": 0.1}
        return {"name": name, "local": figures, "accumulated": figures} | usual | more

    return {
        "shadow": "float32",
        "outputs": {"y": {"snr_db": 31.5}},
        "first_overflow": {"op": "linear 'product'", "operand": "weight", "why": "it reaches 7e4", "location": None},
        "first_nan": None,
        "culprit": None,
        "ops": [row("product", float("-inf"), overflow=0.25), row("sum", 35.0), row("y", float("inf"))],
    }
