"""The vector functions against float64: every magnitude, sign and special value, within their stated bounds."""

import numpy as np
import pytest
from scipy import special

from gristmill.devices.cpu import _native

RNG = np.random.default_rng(0)


def _steps(operands: list[np.ndarray], step: str, p: float = 0.0) -> np.ndarray:
    """One tile step over vectors."""
    executable = _native.Executable(1)
    shape = [executable.size([(0, operands[0].size)])]
    sources = [executable.external("fp32", shape) for _ in operands]
    result = executable.external("fp32", shape)
    count = len(operands)
    program = _native.tile_program(count, count + 1, [(step, count, 0, count - 1, 0, p, 0.0)], [count])
    executable.call("elementwise", {"program": program}, sources, [result])
    made = np.empty_like(operands[0])
    executable.run([], [*operands, made])
    return made


def _unary(step: str, x: np.ndarray) -> np.ndarray:
    return _steps([x], step, p=1.0 if step == "Elu" else 0.0)


# Bounds in ulp, as native/simd/math.h and wide.h state them for normal results.
FUNCTIONS = {
    "Exp": (np.exp, 2),
    "Exp2": (np.exp2, 2),
    "Log": (np.log, 2),
    "Tanh": (np.tanh, 2),
    "Sigmoid": (special.expit, 4),
    "Silu": (lambda x: x * special.expit(x), 4),
    "Erf": (special.erf, 3),
    "Gelu": (lambda x: x * special.ndtr(x), 6),
    "GeluTanh": (lambda x: x * special.expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)), 4),
    "Softplus": (lambda x: np.logaddexp(0, x), 3),
    "Elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), 2),
    "Asin": (np.arcsin, 3),
    "Acos": (np.arccos, 2),
    "Atan": (np.arctan, 3),
    "Sinh": (np.sinh, 3),
    "Cosh": (np.cosh, 3),
    "Atanh": (np.arctanh, 3),
    "Sin": (np.sin, 0.51),
    "Cos": (np.cos, 0.51),
    "Tan": (np.tan, 0.51),
}
LEAST_NORMAL = float(np.finfo(np.float32).tiny)


def _arguments() -> np.ndarray:
    """Float32 numbers of all bits, and many where functions change their course."""
    bits = RNG.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
    near = [RNG.uniform(-limit, limit, 40_000) for limit in (1.1, 3, 110, 1e4, 1.2e6)]
    ones = 1 + RNG.normal(size=20_000) * np.exp(RNG.uniform(-16, -1, 20_000))
    # The doubles nearest to multiples of π/2, rounded: what is left after the reduction is smallest there.
    turns = np.round(np.exp(RNG.uniform(0, 13, 20_000))) * (np.pi / 2)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.concatenate([bits, *near, ones, -ones, turns]).astype(np.float32)


def _check(got: np.ndarray, wanted: np.ndarray, bound: float, *arguments: np.ndarray) -> None:
    """Within the bound where the result is normal, else within so many of the smallest steps; the same NaN and ±∞."""
    with np.errstate(all="ignore"):
        nearest = wanted.astype(np.float32)
    finite = np.isfinite(nearest)
    np.testing.assert_array_equal(got[~finite], nearest[~finite])
    spacing = np.spacing(np.maximum(np.abs(nearest[finite]), np.float32(LEAST_NORMAL))).astype(np.float64)
    errors = np.abs(got[finite].astype(np.float64) - wanted[finite]) / spacing
    worst = errors.argmax()
    assert errors.max() <= bound, f"{errors.max():.2f} ulp at {[a[finite][worst] for a in arguments]}"


@pytest.mark.parametrize("step", FUNCTIONS)
def test_functions_keep_their_stated_error_bound(step):
    """Against SciPy in float64. The greatest finite number is within a bound of what is already infinite."""
    function, bound = FUNCTIONS[step]
    x = _arguments()
    with np.errstate(all="ignore"):
        wanted = function(x.astype(np.float64))
    overflows = np.abs(np.abs(wanted) - 2.0**128) < 2.0**106
    _check(_unary(step, x)[~overflows], wanted[~overflows], bound, x[~overflows])


@pytest.mark.parametrize("step", FUNCTIONS)
def test_functions_of_special_values(step):
    """NaN stays NaN; at infinities and zero the formula decides: -∞ times a factor that vanishes is NaN."""
    function, _ = FUNCTIONS[step]
    x = np.array([np.nan, np.inf, -np.inf, 0.0, 1.0, -1.0], np.float32)
    with np.errstate(all="ignore"):
        wanted = function(x.astype(np.float64))
    np.testing.assert_allclose(_unary(step, x), wanted, rtol=1e-6)


@pytest.mark.parametrize("step", ["Tanh", "Sin", "Tan", "Asin", "Atan", "Sinh", "Atanh"])
def test_odd_functions_keep_the_sign_of_zero(step):
    assert np.signbit(_unary(step, np.array([-0.0], np.float32)))


def test_a_logarithm_sees_what_the_sum_with_its_epsilon_loses():
    """The sum rounded to float32 would be off by 6e-8, near 1 all that the logarithm is."""
    x = (1 + RNG.normal(size=10_000) * 1e-6 - 2.0**-10).astype(np.float32)
    wanted = np.log(x.astype(np.float64) + 2.0**-10)
    _check(_steps([x], "Log", p=2.0**-10), wanted, 2, x)


def test_powers_keep_their_stated_error_bound():
    """Bases of all bits, and exponents that give normal results; whole exponents of negative bases too."""
    x = _arguments()
    y = RNG.uniform(-8, 8, x.size).astype(np.float32)
    y[::2] = np.round(y[::2])
    y[::7] = RNG.integers(0, 2**32, y[::7].size, dtype=np.uint32).view(np.float32)
    with np.errstate(all="ignore"):
        wanted = np.power(x.astype(np.float64), y.astype(np.float64))
    _check(_steps([x, y], "Pow"), wanted, 0.51, x, y)


def test_powers_of_special_values():
    """C's rules, as NumPy has them: any pair of these, the sign of zero as well."""
    values = np.array([0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 2, -2, 0.5, -0.5, 3, -3, 1e-40, 1e30], np.float32)
    x, y = (np.ascontiguousarray(grid.ravel()) for grid in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        wanted = np.power(x.astype(np.float64), y.astype(np.float64)).astype(np.float32)
    got = _steps([x, y], "Pow")
    np.testing.assert_allclose(got, wanted, rtol=2.0**-23)
    real = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(got[real]), np.signbit(wanted[real]))


@pytest.mark.parametrize("step", ["Sigmoid", "Silu", "Gelu"])
def test_functions_for_float16_keep_their_stated_error_bound(step):
    """2e-5 of the result, a twelfth of what rounding to float16 may add (2⁻¹²), beside what is too small for it."""
    function, _ = FUNCTIONS[step]
    x = np.concatenate([RNG.uniform(-30, 30, 80_000), RNG.uniform(-70_000, 70_000, 1000), [0, np.inf, np.nan]])
    x = x.astype(np.float32)
    np.testing.assert_allclose(_unary(f"{step}ForHalf", x), function(x.astype(np.float64)), rtol=2e-5, atol=1e-9)
    with np.errstate(all="ignore"):
        least = function(np.array([-np.inf]))
    np.testing.assert_allclose(_unary(f"{step}ForHalf", np.full(1, -np.inf, np.float32)), least, atol=1e-9)
