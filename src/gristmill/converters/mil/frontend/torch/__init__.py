"""Lowerings of PyTorch's operators that users write."""

from __future__ import annotations

from gristmill.frontends.torch import register_torch_op

__all__ = ["register_torch_op"]
