"""Random programs that all devices must agree on; ``python -m tests.devices.random_programs`` searches for long."""

from tests.devices.random_programs import families, more_families

__all__ = ["families", "more_families"]
