"""The model zoo: architectures that people ship, converted and measured one by one.

``python -m tools.model_zoo`` measures all of them, each in a process of its own, and writes ``docs/model-zoo.md``. The
packages that define the architectures are in the dependency group ``zoo``; weights are random but for those that come
from ``tools.real_models``.
"""
