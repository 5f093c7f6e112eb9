"""The debugging interfaces take what coremltools' take, member for member."""

from __future__ import annotations

import inspect

import pytest

from tools.coremltools_names import _resolve, compare, public_names

EXPERIMENTAL = "coremltools.models.ml_program.experimental"
MODULES = [
    "async_wrapper",
    "compute_plan_utils",
    "debugging_utils",
    "model_structure_path",
    "perf_utils",
    "remote_device",
    "torch.debugging_utils",
    "torch.perf_utils",
]

# What talks to a device over a cable.
NOT_HERE = {"remote_device": {"ComputePlan"}}


def own_names(path: str) -> list[str]:
    """Names that coremltools defines in a module, rather than imports into it."""
    module = _resolve(path)
    return [n for n in public_names(path, module) if getattr(getattr(module, n), "__module__", path) == path]


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.filterwarnings("ignore")
def test_every_name_is_here_with_all_parameters_and_members(name):
    path = f"{EXPERIMENTAL}.{name}"
    theirs, ours = _resolve(path), _resolve(path.replace("coremltools", "gristmill", 1))
    names = set(own_names(path)) - NOT_HERE.get(name, set())
    assert names
    missing = {n: compare(getattr(theirs, n), getattr(ours, n)) for n in names}
    assert missing == {n: [] for n in names}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["bisect_model", "materialize_dynamic_shape_mlmodel", "randomize_weights"])
def test_helpers_take_the_same_arguments_in_the_same_order(name):
    import coremltools

    import gristmill

    theirs, ours = (inspect.signature(getattr(package.utils, name)) for package in (coremltools, gristmill))
    assert list(ours.parameters) == list(theirs.parameters)
    assert [p.default for p in ours.parameters.values()] == [p.default for p in theirs.parameters.values()]


@pytest.mark.filterwarnings("ignore")
def test_coroutines_are_coroutines():
    """What is awaited there is awaited here."""
    for name in MODULES:
        path = f"{EXPERIMENTAL}.{name}"
        theirs, ours = _resolve(path), _resolve(path.replace("coremltools", "gristmill", 1))
        for public in set(own_names(path)) - NOT_HERE.get(name, set()):
            members = {public: getattr(theirs, public)}
            if inspect.isclass(members[public]):
                members = {f"{public}.{m}": v for m, v in vars(members[public]).items() if not m.startswith("_")}
            for member, value in members.items():
                mine = ours
                for part in member.split("."):
                    mine = getattr(mine, part, None)
                if inspect.iscoroutinefunction(value):
                    assert inspect.iscoroutinefunction(mine), member
                elif inspect.isasyncgenfunction(value):
                    assert inspect.isasyncgenfunction(mine), member
