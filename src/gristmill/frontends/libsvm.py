"""LIBSVM's models: its text files, and the structure ``svm_model`` that its Python package gives.

Both are described by LIBSVM's ``README`` ("Library Usage") and ``svm.h``. A file holds eight digits of each feature, a
structure all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np

from gristmill.errors import FormatError, UnsupportedError
from gristmill.frontends.classic import Kernel, SupportVectorMachine
from gristmill.frontends.common import reading
from gristmill.ir.constants import Array

# As LIBSVM's enumerations number them, by the names in files.
_TYPES = ("c_svc", "nu_svc", "one_class", "epsilon_svr", "nu_svr")
_KERNELS = ("linear", "polynomial", "rbf", "sigmoid", "precomputed")
_KINDS = {"linear": "linear", "polynomial": "poly", "rbf": "rbf", "sigmoid": "sigmoid"}

_LARGEST = 1 << 27  # numbers of all vectors together: files are hostile until checked


@dataclass(frozen=True)
class _Machine:
    """What files and structures hold, by LIBSVM's names.

    Attributes:
        vectors: Each vector's numbers by their indices, which begin with 1.
        coefficients: Each vector's, ``[vectors, classes - 1]``.
    """

    svm_type: str
    kernel_type: str
    degree: int
    gamma: float
    coef0: float
    rho: Sequence[float]
    label: Sequence[int]
    nr_sv: Sequence[int]
    prob_a: Sequence[float]
    prob_b: Sequence[float]
    vectors: Sequence[Mapping[int, float]]
    coefficients: Sequence[Sequence[float]]


def read_libsvm_text(text: str) -> SupportVectorMachine:
    """Reads what a model's file holds.

    Raises:
        FormatError: It is no such file.
        UnsupportedError: Core ML lacks its kernel.
    """
    with reading("model of LIBSVM"):
        lines = iter(text.splitlines())
        head = {
            words[0]: words[1:]
            for line in takewhile(lambda line: line.strip() != "SV", lines)
            if (words := line.split())
        }
        rows = [line.split() for line in lines]
        width = int(head["nr_class"][0]) - 1
        if len(rows) != int(head["total_sv"][0]):
            raise FormatError("another number of vectors", expected=head["total_sv"][0], actual=len(rows))

        def numbers(name: str) -> list[float]:
            return [float(word) for word in head.get(name, ())]

        return _describe(
            _Machine(
                svm_type=head["svm_type"][0],
                kernel_type=head["kernel_type"][0],
                degree=int(head.get("degree", ["0"])[0]),
                gamma=float(head.get("gamma", ["0"])[0]),
                coef0=float(head.get("coef0", ["0"])[0]),
                rho=numbers("rho"),
                label=[int(word) for word in head.get("label", ())],
                nr_sv=[int(word) for word in head.get("nr_sv", ())],
                prob_a=numbers("probA"),
                prob_b=numbers("probB"),
                vectors=[dict(_node(word) for word in row[width:]) for row in rows],
                coefficients=[[float(word) for word in row[:width]] for row in rows],
            )
        )


def _node(word: str) -> tuple[int, float]:
    index, _, value = word.partition(":")
    return int(index), float(value)


def read_libsvm_structure(model: Any) -> SupportVectorMachine:
    """Reads a structure ``svm_model``.

    Args:
        model: The structure, of LIBSVM's Python package.

    Raises:
        FormatError: It does not fit together.
        UnsupportedError: Core ML lacks its kernel.
    """
    classes, parameters = int(model.nr_class), model.param
    pairs = classes * (classes - 1) // 2
    return _describe(
        _Machine(
            svm_type=_TYPES[parameters.svm_type],
            kernel_type=_KERNELS[parameters.kernel_type],
            degree=int(parameters.degree),
            gamma=float(parameters.gamma),
            coef0=float(parameters.coef0),
            rho=model.rho[:pairs],
            label=model.label[:classes] if model.label else [],
            nr_sv=model.nSV[:classes] if model.nSV else [],
            prob_a=model.probA[:pairs] if model.probA else [],
            prob_b=model.probB[:pairs] if model.probB else [],
            vectors=model.get_SV(),
            coefficients=model.get_sv_coef(),
        )
    )


def _describe(machine: _Machine) -> SupportVectorMachine:
    if machine.svm_type not in _TYPES or machine.kernel_type not in _KERNELS:
        raise FormatError("an unknown machine", actual=f"{machine.svm_type}, kernel {machine.kernel_type}")
    if machine.kernel_type not in _KINDS:
        raise UnsupportedError(
            "a precomputed kernel is not part of the model", expected=", ".join(_KINDS), actual=machine.kernel_type
        )
    vectors = _dense(machine.vectors)
    width = len(machine.label) - 1 if machine.svm_type.endswith("svc") else 1
    coefficients = np.asarray(machine.coefficients, np.float64).reshape(len(vectors), width).T
    kernel = Kernel(_KINDS[machine.kernel_type], machine.gamma, machine.coef0, machine.degree)
    rho = np.asarray(machine.rho, np.float64)
    match machine.svm_type:
        case "c_svc" | "nu_svc":
            return SupportVectorMachine(
                kernel,
                vectors,
                coefficients,
                rho,
                labels=machine.label,
                counts=machine.nr_sv,
                prob_a=machine.prob_a if machine.prob_b else (),
                prob_b=machine.prob_b if machine.prob_a else (),
            )
        case "one_class":  # the sign of one function, as of a machine for a pair whose second label has no vectors
            return SupportVectorMachine(kernel, vectors, coefficients, rho, labels=(1, -1), counts=(len(vectors), 0))
        case _:
            return SupportVectorMachine(kernel, vectors, coefficients, rho)


def _dense(vectors: Sequence[Mapping[int, float]]) -> Array:
    """Vectors as rows, as wide as their largest index."""
    if not vectors:
        raise FormatError("the machine has no support vectors")
    if min((index for vector in vectors for index in vector), default=1) < 1:
        raise FormatError("an index of a vector is less than 1")
    width = max((index for vector in vectors for index in vector), default=1)
    if width * len(vectors) > _LARGEST:
        raise UnsupportedError("the vectors are too large", expected=f"{_LARGEST} numbers", actual=width * len(vectors))
    rows = np.zeros((len(vectors), width))
    for row, vector in zip(rows, vectors, strict=True):
        for index, value in vector.items():
            row[index - 1] = value
    return rows
