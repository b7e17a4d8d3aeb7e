"""`doorbuster up`: the shop in the foreground until it is told to stop."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from cli.data_directory import DataDirectory, RunningInstance
from cli.output import print_line
from cli.settings import Settings
from cli.shop import Shop

_WATCH_SECONDS = 0.2


class StopAsked(BaseException):
    """SIGINT or SIGTERM came while the shop was starting; not an error, so not an `Exception`."""


class StopSignals:
    """Notes that we were asked to stop; breaks into the start, which can be long, but never into the stop."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._breaks_in = False

    def install(self) -> None:
        """Take SIGINT and SIGTERM; again after Ray started, which takes SIGTERM for itself."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    @contextlib.contextmanager
    def breaking_in(self) -> Iterator[None]:
        """Let a signal raise `StopAsked` within this block."""
        self._breaks_in = True
        try:
            yield
        finally:
            self._breaks_in = False

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        already = self.asked.is_set()
        self.asked.set()
        if self._breaks_in and not already:
            raise StopAsked


def run_shop(settings: Settings, on_ready: Callable[[RunningInstance, threading.Event], None] | None = None) -> None:
    """Run until SIGINT or SIGTERM; returns when all is stopped. `on_ready` runs in a thread beside it.

    Raises: DoorbusterError.
    """
    directory = DataDirectory(settings.data_dir)
    signals = StopSignals()
    signals.install()
    with directory.locked():
        shop = Shop(settings, directory, print_line)
        try:
            with contextlib.suppress(StopAsked):
                with signals.breaking_in():
                    instance = shop.start()
                signals.install()
                print_line(f"The shop is open at {instance.url} (API: {instance.url}/docs). Ctrl-C stops it.")
                if on_ready is not None:
                    threading.Thread(target=on_ready, args=(instance, signals.asked), daemon=True).start()
                while not signals.asked.wait(_WATCH_SECONDS):
                    shop.revive_stores()
        finally:
            signals.install()
            if signals.asked.is_set():
                print_line("Stopping")
            shop.stop()
