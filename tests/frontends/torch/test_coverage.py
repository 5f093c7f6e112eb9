"""What of PyTorch's operators has a counterpart."""

import torch

import gristmill.frontends.torch  # noqa: F401  # registers the lowerings
from gristmill.frontends.torch import registry
from gristmill.frontends.torch.graph import decompositions

# Core ATen operators that no inference graph holds, each with the reason.
NOT_CONVERTED = {
    "aten.convolution_backward.default": "a gradient",
    "aten._adaptive_avg_pool2d_backward.default": "a gradient",
    "aten.avg_pool2d_backward.default": "a gradient",
    "aten.resize_.default": "changes a tensor's storage in place, which torch.export refuses",
}


def _core() -> set[str]:
    """Operators that PyTorch tags as its core set."""
    found = set()
    for schema in torch._C._jit_get_all_schemas():
        namespace, _, name = schema.name.partition("::")
        if namespace == "aten":
            operator = getattr(getattr(torch.ops.aten, name, None), schema.overload_name or "default", None)
            if operator is not None and torch.Tag.core in operator.tags:
                found.add(str(operator))
    return found


def test_every_core_operator_is_lowered_or_taken_apart():
    """The set to which any exported model can be reduced."""
    taken_apart = {str(operator) for operator in decompositions()}
    core = _core()
    assert len(core) > 150
    missing = {name for name in core if registry.find(name) is None and name not in taken_apart}
    assert missing == {name for name in NOT_CONVERTED if name in core}
