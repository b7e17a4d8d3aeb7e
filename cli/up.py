"""`doorbuster up`: the shop in the foreground until it is told to stop."""

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

from cli.data_directory import DataDirectory, RunningInstance
from cli.output import print_line
from cli.settings import Settings
from cli.shop import Shop

_WATCH_SECONDS = 0.2


class StopAsked(BaseException):
    """SIGINT or SIGTERM came while the shop was starting; not an error, so not an `Exception`."""


class StopSignals:
    """Notes SIGINT and SIGTERM. Raises at checkpoints of our own only: Ray's native code does not survive more.

    The handler sets a flag and nothing else: a second signal may interrupt it, and an event's lock would be taken
    twice then. `asked` follows the flag, for threads that wait.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self._is_noted = False

    def install(self) -> None:
        """Take both signals."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def checkpoint(self) -> None:
        """Raise `StopAsked` if a signal came, or a thread has asked."""
        if self._is_noted:
            self.asked.set()
        if self.asked.is_set():
            raise StopAsked

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self._is_noted = True


def run_shop(settings: Settings, on_ready: Callable[[RunningInstance, threading.Event], None] | None = None) -> None:
    """Run until SIGINT or SIGTERM; returns when all is stopped. `on_ready` runs in a thread beside it.

    Raises: DoorbusterError.
    """
    directory = DataDirectory(settings.data_dir)
    signals = StopSignals()
    signals.install()
    with directory.locked():
        shop = Shop(settings, directory, print_line, signals.checkpoint)
        try:
            with contextlib.suppress(StopAsked):
                instance = shop.start()
                print_line(f"The shop is open at {instance.url} (API: {instance.url}/docs). Ctrl-C stops it.")
                if on_ready is not None:
                    threading.Thread(target=on_ready, args=(instance, signals.asked), daemon=True).start()
                while True:
                    signals.checkpoint()
                    shop.revive_servers()
                    time.sleep(_WATCH_SECONDS)
        finally:
            shop.stop()
