"""What a user's lowering calls."""

from __future__ import annotations

from gristmill.frontends.torch.user_ops import get_inputs as _get_inputs

__all__ = ["_get_inputs"]
