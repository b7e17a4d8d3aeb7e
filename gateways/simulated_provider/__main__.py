"""`python -m gateways.simulated_provider`: one instance as a process. Reads the clock and makes references here."""

import argparse
import asyncio
import contextlib
import os
import random
import secrets
import signal
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import FrameType

import aiohttp
import msgspec
import uvicorn
import uvloop

from gateways.simulated_provider.application import ProviderApplication
from gateways.simulated_provider.provider import ProviderEdges, SimulatedProvider
from gateways.simulated_provider.storage import Event, PaymentStorage
from gateways.simulated_provider.webhooks import Post, WebhookSender
from gateways.webhook_signature import HEADER, sign

KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep connections unused, so that none is closed under a request."""
_POST_SECONDS_MAX = 5.0
_STOP_SECONDS_MAX = 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    options = _parser().parse_args(arguments)
    uvloop.run(_serve(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="simulated-provider", description="A payment provider that moves no money.")
    parser.add_argument("--name", required=True, help="what the shop calls it; `primary` obeys tok_down")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=Path, required=True, help="directory of its file; one process has it")
    parser.add_argument("--secret-file", type=Path, required=True, help="the secret of its API and of its webhooks")
    parser.add_argument("--webhook-url", default="", help="where events go; nowhere if empty")
    parser.add_argument("--public-url", default="", help="its own URL as payers see it")
    parser.add_argument(
        "--webhooks", choices=["untold", "all"], default="untold", help="events for what no answer told, or for all"
    )
    return parser


async def _serve(options: argparse.Namespace) -> None:
    secret = options.secret_file.read_text().strip()
    options.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.chdir(options.data)  # Where to find it, should whoever started it be gone.
    storage = PaymentStorage(Path("payments.sqlite3"))
    async with _posting(options.webhook_url, secret.encode()) as post:
        webhooks = WebhookSender(storage, post, chance=random.SystemRandom())
        provider = SimulatedProvider(
            options.name,
            storage,
            ProviderEdges(
                clock_seconds=time.time,
                new_reference=lambda: f"{options.name}-{secrets.token_hex(12)}",
                announce=webhooks.announce,
            ),
            public_url=options.public_url or f"http://{options.host}:{options.port}",
            announces_all=options.webhooks == "all",
        )
        configuration = uvicorn.Config(
            ProviderApplication(provider, storage, webhooks, secret=secret),
            host=options.host,
            port=options.port,
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_STOP_SECONDS_MAX,
        )
        server = uvicorn.Server(configuration)
        _stop_on_signals(server)
        sending = asyncio.create_task(webhooks.run())
        try:
            await server.serve()
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
            storage.close()


def _stop_on_signals(server: uvicorn.Server) -> None:
    """Stop in order, also when the signal comes before the server listens; it raises the signal again at its end."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


@contextlib.asynccontextmanager
async def _posting(url: str, secret: bytes) -> AsyncIterator[Post]:
    """Make what sends an event to the shop."""
    timeout = aiohttp.ClientTimeout(total=_POST_SECONDS_MAX)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def post(event: Event) -> bool:
            if not url:
                return True
            body = msgspec.json.encode(event)
            headers = {HEADER: sign(secret, body, int(time.time())), "content-type": "application/json"}
            try:
                async with session.post(url, data=body, headers=headers) as answer:
                    return answer.ok
            except (aiohttp.ClientError, TimeoutError):
                return False

        yield post


if __name__ == "__main__":
    main()
