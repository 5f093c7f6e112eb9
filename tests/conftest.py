"""What every test shares: the Hypothesis profile, cheap garbage collection and the real models."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

import gristmill.ops  # noqa: F401  # registers every op
from tools import real_models

# A deadline measures the machine, not the code. In CI a failure must come again on the next run.
hypothesis.settings.register_profile("dev", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_collection_finish() -> None:
    """Modules and tests live to the end: collecting garbage, which some tests do, need not look at them each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def real_model() -> Callable[[str], Path]:
    """Gives the folder of a package of `tools.real_models` by name.

    Skips where npm is missing and the package needs it; in CI that is a failure.
    """

    def folder(name: str) -> Path:
        reason = real_models.missing_client(name)
        if reason and not os.environ.get("CI"):
            pytest.skip(reason)
        return real_models.fetch(name)

    return folder
