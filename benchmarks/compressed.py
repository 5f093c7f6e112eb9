"""What compressed weights cost and save: products with a matrix of 4096 × 4096, by the weight's form.

Run ``python -m benchmarks.compressed``. The forms take turns; medians of their rounds are printed, and how many times
as fast as float16 they are. Several matrices are multiplied one after the other, so that none stays in a cache.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from gristmill.devices.cpu import CpuDevice
from gristmill.ir.builder import mb
from gristmill.ir.constants import ArrayData
from gristmill.ir.opset import iOS18
from gristmill.ir.program import Program, Value
from gristmill.ir.types import DType, TensorType, fp16, int4, int8, uint1, uint4

SIZE, LAYERS = 4096, 4
RNG = np.random.default_rng(0)


def _integers(dtype: DType) -> Value:
    codes = RNG.integers(dtype.min, dtype.max + 1, (SIZE, SIZE), dtype.numpy)
    return mb.const(ArrayData(codes, dtype))


def _scales(groups: int) -> np.ndarray:
    return RNG.uniform(0.001, 0.01, (SIZE, groups)).astype(np.float16)


def _sparse(share: float) -> Value:
    mask = (RNG.random((SIZE, SIZE)) < share).astype(np.uint8)
    elements = RNG.normal(size=int(mask.sum())).astype(np.float16)
    return mb.constexpr_sparse_to_dense(nonzero_data=elements, mask=mb.const(ArrayData(mask, uint1)))


FORMS: dict[str, Callable[[], Value]] = {
    "float16": lambda: mb.const(RNG.normal(size=(SIZE, SIZE)).astype(np.float16)),
    "int8": lambda: mb.constexpr_blockwise_shift_scale(data=_integers(int8), scale=_scales(1)),
    "int4, blocks of 32": lambda: mb.constexpr_blockwise_shift_scale(data=_integers(int4), scale=_scales(SIZE // 32)),
    "half zeros": lambda: _sparse(0.5),
    "three quarters zeros": lambda: _sparse(0.25),
    "a table of 16": lambda: mb.constexpr_lut_to_dense(
        indices=_integers(uint4), lut=RNG.normal(size=(1, 1, 16, 1)).astype(np.float16)
    ),
}


def _model(weight: Callable[[], Value], rows: int) -> Program:
    program = Program()
    with mb.function(program, "main", {"x": TensorType(fp16, (rows, SIZE))}, iOS18) as (x,):
        for _ in range(LAYERS):
            x = mb.mul(x=mb.linear(x=x, weight=weight()), y=np.float16(0.01))
        mb.output(x)
    return program


def main() -> None:
    """Prints a table for one row and for 128."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int)
    chosen = parser.parse_args()
    for rows in (1, 128):
        x = RNG.normal(size=(rows, SIZE)).astype(np.float16)
        runs = {name: CpuDevice(chosen.threads).prepare(_model(make, rows).main) for name, make in FORMS.items()}
        found: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(chosen.rounds):
            for name, run in runs.items():
                start = time.perf_counter()
                run.run({"x": x})
                found[name].append((time.perf_counter() - start) / LAYERS)
        print(f"{rows} × {SIZE} × {SIZE}")
        base = statistics.median(found["float16"])
        for name, seconds in found.items():
            median = statistics.median(seconds)
            print(f"  {name:20} {median * 1e3:8.2f} ms   {base / median:5.2f}×")


if __name__ == "__main__":
    main()
