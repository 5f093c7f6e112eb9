"""What concerns ML Programs alone, under coremltools' names."""

from __future__ import annotations

from gristmill.models.ml_program import experimental

__all__ = ["experimental"]
