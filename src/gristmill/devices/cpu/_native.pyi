"""The CPU engine's native core."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

class NativeError(RuntimeError):
    pass

def isa() -> str:
    """Name of the instruction set in use."""

def isas() -> list[str]:
    """Names of the instruction sets that this build has and this machine can run."""

def default_threads() -> int:
    """Number of threads that executables use unless told otherwise."""

def peak_flops(threads: int) -> float:
    """Float32 multiply-adds per second, two operations each, measured now."""

def peak_bytes(threads: int) -> float:
    """Bytes read from memory per second, measured now."""

class Prepared:
    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""

class Buffer:
    @property
    def nbytes(self) -> int:
        """Bytes that it holds."""

def buffer(array: NDArray[Any]) -> Buffer:
    """Copies an array's bytes."""

def pack_matrix(dtype: str, array: NDArray[Any], sizes: Sequence[int], strides: Sequence[int], at: int = 0) -> Prepared:
    """Packs a matrix [outer·inner, n]: sizes and strides of outer, inner and n, from element `at` on."""

def transform_weight(array: NDArray[Any], made: int, channels: int, tile: int) -> Prepared:
    """Transforms a float16 weight [made, channels, 3, 3] for Winograd's filters with tiles of 2 or 4."""

def prepared_list(items: Sequence[Prepared]) -> Prepared:
    """Several prepared things as one."""

def tile_program(
    inputs: int, registers: int, steps: Sequence[tuple[str, int, int, int, int, float, float]], outputs: Sequence[int]
) -> Prepared:
    """Makes an element-wise program of steps (op, to, x, y, z, p, q)."""

class Bound:
    def __call__(self) -> None:
        """Runs on the bound arrays."""

class Executable:
    def __init__(self, threads: int) -> None: ...
    def bind(self, externals: Sequence[NDArray[Any]]) -> Bound:
        """A run of these arrays, to be repeated."""

    def size(self, steps: Sequence[tuple[int, int]]) -> int:
        """Adds a size expression in postfix form and returns its number."""

    def arena(self, dtype: str, shape: Sequence[int]) -> int: ...
    def external(self, dtype: str, shape: Sequence[int]) -> int: ...
    def constant(self, dtype: str, shape: Sequence[int], data: Buffer) -> int: ...
    def alias(self, of: int, dtype: str, shape: Sequence[int]) -> int: ...
    def call(
        self, kernel: str, attributes: dict[str, object], inputs: Sequence[int], outputs: Sequence[int]
    ) -> int: ...
    def run(self, symbols: Sequence[int], externals: Sequence[NDArray[Any]]) -> None: ...
    def profile(
        self, symbols: Sequence[int], externals: Sequence[NDArray[Any]]
    ) -> list[tuple[int, float, float, float, float, float, str]]:
        """Runs once; for each call (number, start, seconds, flops, bytes of constants, of operands, variant)."""
