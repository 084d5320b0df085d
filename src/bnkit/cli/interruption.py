"""Being told to end by the system is as Ctrl-C: what was finished is kept, nothing is half-left."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130


@contextmanager
def ended_as_interrupted() -> Iterator[None]:
    """Have SIGTERM and SIGHUP raise `KeyboardInterrupt` inside."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.signal(getattr(signal, name), stop) for name in names}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
