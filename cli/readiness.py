"""Waits for a shop to say that it can serve."""

import time
from collections.abc import Callable

import httpx

from cli.server_process import ServerFault

_POLL_SECONDS = 0.2
_ANSWER_SECONDS_MAX = 5.0


def wait_until_ready(url: str, seconds_max: float, checkpoint: Callable[[], None] = lambda: None) -> None:
    """Return when `/readyz` answers 200; `checkpoint` is called before each look and may raise to break off.

    Raises: ServerFault with what the shop said last.
    """
    give_up_at = time.monotonic() + seconds_max
    reason = "no answer"
    while time.monotonic() < give_up_at:
        checkpoint()
        try:
            answer = httpx.get(f"{url}/readyz", timeout=_ANSWER_SECONDS_MAX, trust_env=False)
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
        else:
            if answer.status_code == httpx.codes.OK:
                return
            reason = answer.text
        time.sleep(_POLL_SECONDS)
    raise ServerFault(f"the shop did not get ready within {seconds_max:.0f} s: {reason[:200]}")
