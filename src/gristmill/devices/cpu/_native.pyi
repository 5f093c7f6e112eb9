"""The CPU engine's native core."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

class NativeError(RuntimeError):
    pass

class FileError(NativeError):
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

THIN_ROWS: int = 4

def buffer(array: NDArray[Any], constant: bool = False) -> Buffer:
    """An array's bytes: a copy, unless the array is large and its contents never change."""

def pack_matrix(dtype: str, array: NDArray[Any], sizes: Sequence[int], strides: Sequence[int], at: int = 0) -> Prepared:
    """Packs a matrix [outer·inner, n]: sizes and strides of outer, inner and n, from element `at` on."""

class Expected:
    def __init__(self, descriptor: int, size: int, mapped: bool, fresh: int) -> None:
        """A weight file that a program is about to use: memory is made ready for it in the background meanwhile."""

def pack_file_matrix(
    dtype: str,
    name: str,
    descriptor: int,
    start: int,
    mapped: bool,
    count: int,
    sizes: Sequence[int],
    strides: Sequence[int],
    at: int,
    stays: bool,
) -> Prepared:
    """As pack_matrix, of `count` elements at a byte of an open file; in the background, later if it stays."""

def file_buffer(name: str, descriptor: int, start: int, mapped: bool, bytes: int) -> Buffer:
    """Bytes of an open file: mapped, or read in the background."""

def compress_sparse(dtype: str, array: NDArray[Any], sizes: Sequence[int], strides: Sequence[int]) -> Prepared:
    """Packs the elements of a matrix that are not zero."""

def compress_affine(
    codes: NDArray[Any],
    bits: int,
    sizes: Sequence[int],
    strides: Sequence[int],
    dtype: str,
    scale: NDArray[Any],
    zero_point: NDArray[Any] | None,
    zero: float,
    block: int,
    half: bool,
    rounded: bool,
    name: str,
) -> Prepared:
    """Packs codes, one a byte, that stand for scale·(code - zero_point), or zero for None; rows are [k / block, n]."""

def compress_table(
    codes: NDArray[Any], bits: int, sizes: Sequence[int], strides: Sequence[int], entries: NDArray[Any], tables: int
) -> Prepared:
    """Packs a matrix of codes, one a byte, that stand for entries of float32 tables, one for each group of columns."""

def transform_weight(array: NDArray[Any], made: int, channels: int, tile: int) -> Prepared:
    """Transforms a float16 weight [made, channels, 3, 3] for Winograd's filters with tiles of 2 or 4."""

def transform_file_weight(
    name: str, descriptor: int, start: int, mapped: bool, made: int, channels: int, tile: int
) -> Prepared:
    """As transform_weight, of elements that begin at a byte of an open file; in the background."""

def prepared_list(items: Sequence[Prepared]) -> Prepared:
    """Several prepared things as one."""

def tile_program(
    inputs: int, registers: int, steps: Sequence[tuple[str, int, int, int, int, float, float]], outputs: Sequence[int]
) -> Prepared:
    """Makes an element-wise program of steps (op, to, x, y, z, p, q)."""

class Forest:
    def __init__(
        self,
        threshold: NDArray[Any],
        feature: NDArray[Any],
        equal: NDArray[Any],
        missing_is_second: NDArray[Any],
        first: NDArray[Any],
        roots: NDArray[Any],
        begins: NDArray[Any],
        values: NDArray[Any],
        dimensions: NDArray[Any],
        width: int,
    ) -> None: ...
    @property
    def features(self) -> int:
        """How many features branches ask for."""

    def add_sums(self, x: NDArray[Any], sums: NDArray[Any], threads: int) -> None:
        """Adds what rows' leaves hold to sums."""

class Bound:
    def __call__(self) -> None:
        """Runs on the bound arrays."""

class Direct:
    def __init__(
        self,
        executable: Executable,
        arrays: int,
        inputs: Sequence[tuple[str, object, tuple[int, ...], int]],
        outputs: Sequence[tuple[str, object, tuple[int, ...], int]],
        array: type,
        empty: object,
    ) -> None:
        """Inputs and outputs are (name, element type, shape, place among so many arrays); NumPy's array and empty."""

    def __call__(self, data: dict[str, Any]) -> dict[str, NDArray[Any]] | None:
        """Runs, unless an input is not a contiguous array as described, or float32 for float16: then returns None."""

class Executable:
    def __init__(self, threads: int) -> None: ...
    def bind(self, externals: Sequence[NDArray[Any]]) -> Bound:
        """A run of these arrays, to be repeated."""

    def size(self, steps: Sequence[tuple[int, int]]) -> int:
        """Adds a size expression in postfix form and returns its number."""

    def arena(self, dtype: str, shape: Sequence[int]) -> int: ...
    def external(self, dtype: str, shape: Sequence[int]) -> int: ...
    def constant(self, dtype: str, shape: Sequence[int], data: Buffer) -> int: ...
    def alias(self, of: int, dtype: str, shape: Sequence[int], start: int | None = None) -> int: ...
    def call(
        self, kernel: str, attributes: dict[str, object], inputs: Sequence[int], outputs: Sequence[int]
    ) -> int: ...
    def run(self, symbols: Sequence[int], externals: Sequence[NDArray[Any]]) -> None: ...
    def configured(self) -> tuple[int, float, int]:
        """How often there were new sizes, the seconds that making ready for them took, and bytes of working memory."""

    def undo(self, symbols: Sequence[int], externals: Sequence[NDArray[Any]]) -> None:
        """Takes back what a run of these arrays wrote in place."""

    def profile(
        self, symbols: Sequence[int], externals: Sequence[NDArray[Any]]
    ) -> list[tuple[int, float, float, float, float, float, str]]:
        """Runs once; for each call (number, start, seconds, flops, bytes of constants, of operands, variant)."""
