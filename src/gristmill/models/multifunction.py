"""Models with several functions, made of models with one or more."""

from __future__ import annotations

import os
from pathlib import Path

from gristmill.errors import InputError
from gristmill.ir.clone import clone_function
from gristmill.ir.program import Program
from gristmill.package import Package, load, proto
from gristmill.package.proto import Message


class MultiFunctionDescriptor:
    """Says which functions of which models make up a new model, and how they are called there.

    Args:
        model_path: A model whose functions to take, all of them; none when left out.

    Attributes:
        default_function_name: The function that runs when the caller names none.
    """

    def __init__(self, model_path: str | os.PathLike[str] | None = None) -> None:
        self.default_function_name: str | None = None
        self.functions: dict[str, tuple[Path, str]] = {}
        self._packages: dict[Path, Package] = {}
        if model_path is not None:
            self.add_model(model_path)

    def add_function(
        self, model_path: str | os.PathLike[str], src_function_name: str, target_function_name: str
    ) -> None:
        """Takes one function of a model.

        Args:
            model_path: The model, an ML Program.
            src_function_name: What the function is called there.
            target_function_name: What it is called in the new model.

        Raises:
            InputError: There is no such function, or the new name is taken.
        """
        path = Path(model_path)
        names = list(self._package(path).program.functions)
        if src_function_name not in names:
            raise InputError(
                f"the model has no function '{src_function_name}'", expected=", ".join(names), actual=src_function_name
            )
        if target_function_name in self.functions:
            raise InputError("two functions have one name", actual=target_function_name)
        self.functions[target_function_name] = (path, src_function_name)

    def add_model(self, model_path: str | os.PathLike[str]) -> None:
        """Takes all functions of a model under their own names."""
        for name in self._package(Path(model_path)).program.functions:
            self.add_function(model_path, name, name)

    def remove_function(self, function_name: str) -> None:
        """Leaves a function out again.

        Raises:
            InputError: There is none of this name.
        """
        if function_name not in self.functions:
            raise InputError(
                f"there is no function '{function_name}'", expected=", ".join(self.functions), actual=function_name
            )
        del self.functions[function_name]

    def package(self) -> Package:
        """The new model. Weights that functions share are stored once when it is saved.

        Raises:
            InputError: There is no function, or no default one.
        """
        if self.default_function_name not in self.functions:
            raise InputError(
                "a model with functions has a default one",
                expected="default_function_name = one of " + ", ".join(self.functions),
                actual=self.default_function_name,
            )
        program = Program()
        description = proto.message("ModelDescription")(defaultFunctionName=self.default_function_name)
        for name, (path, source) in self.functions.items():
            package = self._package(path)
            program.add_function(clone_function(package.program.functions[source], name))
            description.functions.append(_interface(package.description, source, name))
        default, _ = self.functions[self.default_function_name]
        description.metadata.CopyFrom(self._package(default).description.metadata)
        return Package.from_program(program, description)

    def _package(self, path: Path) -> Package:
        if path not in self._packages:
            self._packages[path] = load(path)
        return self._packages[path]


def _interface(description: Message, source: str, name: str) -> Message:
    """What a model's description says of one of its functions, under a new name."""
    found = proto.message("FunctionDescription")()
    for function in description.functions:
        if function.name == source:
            found.CopyFrom(function)
    if not description.functions:
        for field in ("input", "output", "state"):
            getattr(found, field).extend(getattr(description, field))
        found.predictedFeatureName = description.predictedFeatureName
        found.predictedProbabilitiesName = description.predictedProbabilitiesName
    found.name = name
    return found


def save_multifunction(desc: MultiFunctionDescriptor, destination_path: str | os.PathLike[str]) -> None:
    """Writes the model that a descriptor describes.

    Args:
        desc: The functions, and which is the default one.
        destination_path: Ends in ``.mlpackage``.

    Raises:
        InputError: The descriptor is incomplete.
    """
    desc.package().save(destination_path)
