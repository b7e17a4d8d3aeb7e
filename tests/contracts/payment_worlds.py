"""Payment providers for their contract: one in memory, and one that is a process, asked over HTTP."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import httpx

from cli.payment_providers import PaymentProviderServer
from gateways.http_pool import HttpLimits
from gateways.payments import PaymentProvider
from gateways.payments_memory import MemoryPaymentProvider
from gateways.simulated_provider_client import SimulatedProviderClient

LIMITS = HttpLimits(connect_seconds_max=1.0, answer_seconds_max=2.0)


class World(Protocol):
    """A provider and the payers at its other end."""

    @property
    def provider(self) -> PaymentProvider: ...
    async def complete_challenge(self, payment_key: str, *, is_passed: bool) -> None: ...
    async def go_down(self) -> None: ...
    async def come_back(self) -> None: ...
    async def close(self) -> None: ...


class MemoryWorld:
    """A provider in this process."""

    def __init__(self, name: str) -> None:
        self.provider = MemoryPaymentProvider(name)

    async def complete_challenge(self, payment_key: str, *, is_passed: bool) -> None:
        self.provider.complete_challenge(payment_key, is_passed=is_passed)

    async def go_down(self) -> None:
        self.provider.is_down = True

    async def come_back(self) -> None:
        self.provider.is_down = False

    async def close(self) -> None:
        """Nothing to let go of."""


class ServerWorld:
    """A provider that is a process."""

    def __init__(self, server: PaymentProviderServer) -> None:
        self.server = server
        self.provider = SimulatedProviderClient(server.provider_name, server.url, server.secret, LIMITS)

    async def complete_challenge(self, payment_key: str, *, is_passed: bool) -> None:
        found = await self.provider.find(payment_key)
        assert found is not None
        result = "passed" if is_passed else "failed"
        async with httpx.AsyncClient(trust_env=False) as payer:
            answer = await payer.post(f"{self.server.url}/v1/challenges/{found.reference}", json={"result": result})
        assert answer.status_code == 200

    async def go_down(self) -> None:
        await self.control(outage="refuse")

    async def come_back(self) -> None:
        await self.control()

    async def control(self, **settings: Any) -> None:
        async with httpx.AsyncClient(trust_env=False) as operator:
            answer = await operator.put(f"{self.server.url}/control", json=settings, headers=bearer(self.server))
        assert answer.status_code == 200

    async def close(self) -> None:
        await self.control()
        await self.provider.close()


def bearer(server: PaymentProviderServer) -> dict[str, str]:
    return {"authorization": f"Bearer {server.secret}"}


def make_server(directory: Path, name: str, webhook_url: str = "") -> PaymentProviderServer:
    return PaymentProviderServer(name, directory / name, directory / f"{name}.log", webhook_url=webhook_url)


MakeWorld = Callable[[str], World]
