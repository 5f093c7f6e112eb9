"""The converter of LIBSVM's models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gristmill.converters.common import finish, is_path, library, read_file, unknown_model
from gristmill.errors import InputError, InputTypeError
from gristmill.frontends.classic import Feature, LinearModel, Stage, SupportVectorMachine
from gristmill.frontends.common import reading
from gristmill.frontends.libsvm import read_libsvm_structure, read_libsvm_text
from gristmill.models import datatypes
from gristmill.models.classic import interface
from gristmill.models.classic_writer import features_of, write_model, write_stages
from gristmill.models.model import MLModel
from gristmill.package.proto import Message

_DECISION = "decision"
"""What passes between the parts of a pipeline."""


def convert(
    model: Any,
    input_names: str | Sequence[str] = "input",
    target_name: str = "target",
    probability: str = "classProbability",
    input_length: int | str = "auto",
) -> MLModel:
    """Converts a support vector machine of LIBSVM, of any type and kernel but precomputed ones.

    A machine of one class becomes a classifier of the labels 1 and -1, as ``svm_predict`` gives them. A regressor's
    noise and a one-class machine's density, which LIBSVM estimates beside predictions, have no place in Core ML.

    Args:
        model: A structure ``svm_model``, or the path of a file that ``svm_save_model`` wrote. A file needs no LIBSVM,
            but holds features with eight digits only.
        input_names: The name of the input, an array of all features; or names of inputs that hold one feature each.
        target_name: Name of the output; of a classifier, of its label.
        probability: Name of the probabilities, which a classifier has that was trained to estimate them (``-b 1``).
            Its label is then the most probable one, as ``svm_predict`` with ``-b 1`` gives it.
        input_length: How many features the array has. By default as many as the support vectors have: features that
            are zero in all of them do not count when they stand at the end.

    Returns:
        A support vector classifier or regressor; of two labels with probabilities, a pipeline of a regressor and a
        logistic function, which agrees with LIBSVM where a classifier of Core ML is up to 0.005 beside.

    Raises:
        InputError: The arguments do not fit the model, or this is none.
        FormatError: The file is malformed.
        UnsupportedError: The kernel is precomputed, or LIBSVM is needed and not installed.
    """
    for name, value in (("target_name", target_name), ("probability", probability)):
        if not isinstance(value, str):
            raise InputTypeError(f"{name} is a text", actual=value)
    machine = _read(model)
    inputs = _inputs(input_names, input_length, machine.vectors.shape[1])
    width = sum(kind.num_elements or 1 for _, kind in inputs)
    more = width - machine.vectors.shape[1]
    machine = replace(machine, vectors=np.pad(machine.vectors, ((0, 0), (0, more))))
    if machine.labels is not None and len(machine.prob_a) == 1 and probability:
        return finish(_write_two(machine, inputs, (target_name, probability)), "libsvm")
    outputs: Any = target_name
    if machine.labels is not None:
        outputs = [(target_name, datatypes.Int64())]
        if machine.prob_a and probability:
            outputs.append((probability, datatypes.Dictionary(datatypes.Int64())))
    return finish(write_model(machine, inputs, outputs), "libsvm")


def _write_two(machine: SupportVectorMachine, inputs: interface.Features, outputs: tuple[str, str]) -> Message:
    """A machine of two labels that knows probabilities: its decision, and then a logistic function of that.

    LIBSVM takes the two probabilities from that function, and keeps them 1e-7 away from 0 and 1. A support vector
    classifier of Core ML couples pairs also where there is only one, by an iteration that ends up to 0.005 beside.
    """
    decision = Feature(_DECISION)
    stages = [
        Stage(replace(machine, labels=None, counts=(), prob_a=(), prob_b=()), features_of(inputs), [decision]),
        Stage(LinearModel(np.array([machine.prob_a]), np.array(machine.prob_b), machine.labels), [decision]),
    ]
    return write_stages(stages, features_of(inputs), outputs)


def _read(model: Any) -> SupportVectorMachine:
    if is_path(model):
        with reading("model of LIBSVM"):
            return read_libsvm_text(read_file(model).decode())
    svm = library("libsvm.svm")
    if not isinstance(model, svm.svm_model):
        raise unknown_model(model, "a structure svm_model of LIBSVM, or the path of a file")
    return read_libsvm_structure(model)


def _inputs(names: str | Sequence[str], length: int | str, needed: int) -> interface.Features:
    """The inputs: one array, or one number each."""
    if isinstance(names, str):
        if length == "auto":
            length = needed
        elif isinstance(length, str) or not isinstance(length, int | np.integer):
            raise InputTypeError("input_length is a number, or 'auto'", actual=length)
        inputs: interface.Features = [(names, datatypes.Array(int(length)))]
    elif length != "auto":
        raise InputError("input_length is for one array", expected="one name in input_names", actual=names)
    else:
        inputs, length = [(name, datatypes.Double()) for name in names], len(names)
    if length < needed:
        raise InputError("the model needs more features", expected=f"{needed} or more", actual=length)
    return inputs
