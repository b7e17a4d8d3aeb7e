"""Kills a checkout owner right after a step of its saga, on order of a test; Python imports this in every process.

The test names the step in the file that DOORBUSTER_TEST_KILL_AFTER names. Whoever performs that step next takes the
file away and kills its own process: once. Nothing of this exists outside tests.
"""

import importlib.abc
import importlib.machinery
import os
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

_TARGET = "actors.checkout_owner"
_ORDERS = os.environ.get("DOORBUSTER_TEST_KILL_AFTER")


def _is_ordered(step: str) -> bool:
    """Say whether a test wants this process dead now, and take the order away."""
    assert _ORDERS is not None
    try:
        with open(_ORDERS) as file:
            wanted = file.read().strip()
        if wanted != step:
            return False
        os.rename(_ORDERS, f"{_ORDERS}.done")
    except OSError:
        return False
    return True


def _wrap(module: ModuleType) -> None:
    owner: Any = module.CheckoutOwner
    perform = owner._perform

    async def perform_and_die(self: Any, order: Any, step: Any) -> Any:
        answer = await perform(self, order, step)
        if _is_ordered(type(step).__name__):
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    owner._perform = perform_and_die


class _Loader(importlib.abc.Loader):
    """Loads the module as usual, then wraps it."""

    def __init__(self, real: importlib.abc.Loader) -> None:
        self._real = real

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._real.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._real.exec_module(module)
        _wrap(module)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the one module that is wrapped."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != _TARGET:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


if _ORDERS is not None:
    sys.meta_path.insert(0, _Finder())
