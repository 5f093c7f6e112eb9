"""Cases whose expectation is not met, each with a reason that can be checked.

A case that is listed here and passes is an error, so the list cannot rot.
"""

MISSES: dict[str, str] = {}
