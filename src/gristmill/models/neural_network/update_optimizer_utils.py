"""Parameters of training, under coremltools' names."""

from __future__ import annotations

from collections.abc import Sequence

from gristmill.errors import InputError

__all__ = ["AdamParams", "Batch", "RangeParam", "SgdParams"]


class RangeParam:
    """A number with the bounds within which an application may change it.

    Args:
        value: The number.
        min: Its least value.
        max: Its largest.

    Raises:
        InputError: The bounds are in the wrong order.
    """

    def __init__(self, value: float, min: float = 0, max: float = 1) -> None:
        if min >= max:
            raise InputError("bounds in the wrong order", expected="min below max", actual=(min, max))
        self.value, self.min, self.max = value, min, max


class Batch:
    """A size of batches, with those that an application may choose.

    Args:
        value: The size.
        allowed_set: What may be chosen; this size alone when left out.

    Raises:
        InputError: A size stands there twice.
    """

    def __init__(self, value: int, allowed_set: Sequence[int] | None = None) -> None:
        self.value = value
        self.allowed_set = [value] if allowed_set is None else allowed_set
        if len(set(self.allowed_set)) < len(self.allowed_set):
            raise InputError("sizes of batches stand there once", actual=self.allowed_set)


class SgdParams:
    """Stochastic gradient descent.

    Args:
        lr: The learning rate.
        batch: Samples in a batch.
        momentum: How much of the step before goes on.
    """

    def __init__(self, lr: float = 0.01, batch: int = 10, momentum: float = 0) -> None:
        self.lr, self.batch, self.momentum = RangeParam(lr), Batch(batch), RangeParam(momentum)

    def set_lr(self, value: float, min: float, max: float) -> None:
        """Sets the learning rate and its bounds."""
        self.lr = RangeParam(value, min, max)

    def set_batch(self, value: int, allowed_set: Sequence[int] | None) -> None:
        """Sets the size of a batch and those allowed."""
        self.batch = Batch(value, allowed_set)

    def set_momentum(self, value: float, min: float, max: float) -> None:
        """Sets the momentum and its bounds."""
        self.momentum = RangeParam(value, min, max)


class AdamParams:
    """Adam.

    Args:
        lr: The learning rate.
        batch: Samples in a batch.
        beta1: Decay of the gradient's mean.
        beta2: Decay of its square's mean.
        eps: What keeps quotients finite.
    """

    def __init__(
        self, lr: float = 0.01, batch: int = 10, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8
    ) -> None:
        self.lr, self.batch, self.eps = RangeParam(lr), Batch(batch), RangeParam(eps)
        self.beta1, self.beta2 = RangeParam(beta1), RangeParam(beta2)

    def set_lr(self, value: float, min: float, max: float) -> None:
        """Sets the learning rate and its bounds."""
        self.lr = RangeParam(value, min, max)

    def set_batch(self, value: int, allowed_set: Sequence[int] | None) -> None:
        """Sets the size of a batch and those allowed."""
        self.batch = Batch(value, allowed_set)

    def set_beta1(self, value: float, min: float, max: float) -> None:
        """Sets the decay of the gradient's mean and its bounds."""
        self.beta1 = RangeParam(value, min, max)

    def set_beta2(self, value: float, min: float, max: float) -> None:
        """Sets the decay of its square's mean and its bounds."""
        self.beta2 = RangeParam(value, min, max)

    def set_eps(self, value: float, min: float, max: float) -> None:
        """Sets what keeps quotients finite and its bounds."""
        self.eps = RangeParam(value, min, max)
