"""Types of models that are programs, or become programs: how to get the program, and how it runs on this computer."""

from __future__ import annotations

from gristmill.errors import UnsupportedError
from gristmill.ir.program import Function, Program
from gristmill.package import Package
from gristmill.package.network_messages import NETWORKS

__all__ = ["NETWORKS", "PROGRAMS", "read_program", "runnable"]

PROGRAMS = ("mlProgram", *NETWORKS)
"""Models that are programs, or become some."""


def read_program(package: Package) -> Program:
    """The program of a model: an ML Program's own, or what a neural network becomes.

    Raises:
        UnsupportedError: Models of this type are no programs.
        FormatError: It is malformed.
    """
    if package.kind in NETWORKS:
        from gristmill.models import networks  # which only they need

        return networks.read_program(package)
    if package.kind != "mlProgram":
        raise UnsupportedError(
            f"models of type '{package.kind or 'unknown'}' are no programs",
            location=package.path,
            expected=", ".join(PROGRAMS),
            hint="the models of a pipeline are its stages: MLModel.stages, or --stage"
            if "pipeline" in package.kind
            else None,
        )
    return package.program


def runnable(kind: str, function: Function) -> Function:
    """A function of such a model with a type for every tensor, those of the CPU for a network's."""
    if kind not in NETWORKS:
        return function
    from gristmill.models import networks

    return networks.on_cpu(function)
