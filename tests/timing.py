"""Time for tests of how cost grows: the processor's, the least of several tries, without what others leave behind."""

import gc
import time
from collections.abc import Callable


def processor_seconds(work: Callable[[], object], tries: int = 3) -> float:
    """The least processor seconds that `work` took.

    Garbage is not collected meanwhile: a collection looks at the objects of every test before this one, so its cost
    says nothing about `work`, and the more objects `work` makes the likelier one falls into it.
    """
    seconds = []
    enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(tries):
            start = time.process_time()
            work()
            seconds.append(time.process_time() - start)
    finally:
        if enabled:
            gc.enable()
    return min(seconds)
