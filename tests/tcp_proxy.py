"""A TCP proxy for tests: between two processes of ours it delays, stalls, cuts or refuses what passes.

It runs in a thread with an event loop of its own, so that it goes on while a test blocks; its methods may be called
from any thread and take effect at once.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

CHUNK_BYTES_MAX = 65_536
CHUNKS_HELD_MAX = 1_024
"""Chunks under way in one direction of one connection; its sender is not read from beyond that."""
CONNECT_SECONDS_MAX = 5.0
_RESET = struct.pack("ii", 1, 0)


@dataclass
class Weather:
    """What the network is like now; connections look at it chunk by chunk."""

    to_server_seconds: float = 0.0
    to_client_seconds: float = 0.0
    is_refusing: bool = False


class TcpProxy:
    """Listens on a free port of loopback and passes everything to one server. Use `tcp_proxy` to run one."""

    def __init__(self, server_host: str, server_port: int) -> None:
        self._server_host, self._server_port = server_host, server_port
        self.port = 0
        self.weather = Weather()
        self.connections_seen = 0
        self._loop = asyncio.new_event_loop()
        self._links: set[_Link] = set()
        self._passing = asyncio.Event()
        self._passing.set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tcp-proxy", daemon=True)
        self._stopping = asyncio.Event()

    def start(self) -> None:
        """Return when it listens."""
        self._thread.start()
        assert self._ready.wait(CONNECT_SECONDS_MAX), "the proxy did not start"

    def stop(self) -> None:
        """End all faults, cut everything and end."""
        self.heal()
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(CONNECT_SECONDS_MAX)
        assert not self._thread.is_alive(), "the proxy did not end"

    def delay(self, to_server_seconds: float = 0.0, to_client_seconds: float = 0.0) -> None:
        """Let everything that is sent from now on arrive so much later; bandwidth stays as it is."""
        self.weather.to_server_seconds, self.weather.to_client_seconds = to_server_seconds, to_client_seconds

    def cut(self) -> int:
        """Reset all connections; what is under way is lost, unread by either side. Returns how many there were."""
        return asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(CONNECT_SECONDS_MAX)

    def refuse(self, is_refusing: bool) -> None:
        """Reset new connections, or accept them again."""
        self.weather.is_refusing = is_refusing

    def stall(self) -> None:
        """Become a black hole: connections stay, and are made, but nothing passes until `heal`, which lets it go."""
        self._loop.call_soon_threadsafe(self._passing.clear)

    def heal(self) -> None:
        """End all faults."""
        self.weather = Weather()
        self._loop.call_soon_threadsafe(self._passing.set)

    # --- inside the thread ---

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK_BYTES_MAX)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        await self._cut()
        await asyncio.gather(*(link.ended for link in list(self._links)), return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections_seen += 1
        if self.weather.is_refusing:
            _reset(writer)
            return
        link = _Link(self, reader, writer)
        self._links.add(link)
        try:
            await link.run(self._server_host, self._server_port)
        finally:
            self._links.discard(link)

    async def _cut(self) -> int:
        links = list(self._links)
        for link in links:
            link.cut()
        return len(links)

    async def pass_on(self, delivers_at: float) -> None:
        """Return when a chunk may be delivered."""
        late_seconds = delivers_at - self._loop.time()
        if late_seconds > 0:
            await asyncio.sleep(late_seconds)
        await self._passing.wait()


class _Link:
    """One client's connection and its other half to the server."""

    def __init__(self, proxy: TcpProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._reader, self._writer = reader, writer
        self._server_writer: asyncio.StreamWriter | None = None
        task = asyncio.current_task()
        assert task is not None, "a link runs in a task of its own"
        self.ended = task

    async def run(self, host: str, port: int) -> None:
        with suppress(OSError, asyncio.CancelledError):
            async with asyncio.timeout(CONNECT_SECONDS_MAX):
                server_reader, self._server_writer = await asyncio.open_connection(host, port, limit=CHUNK_BYTES_MAX)
            await asyncio.gather(
                self._pump(self._reader, self._server_writer, is_to_server=True),
                self._pump(server_reader, self._writer, is_to_server=False),
            )
            for writer in (self._writer, self._server_writer):
                writer.close()  # In order: what the other side has not read yet stays readable.
            return
        self._reset()

    def cut(self) -> None:
        self._reset()
        self.ended.cancel()

    def _reset(self) -> None:
        for writer in (self._writer, self._server_writer):
            if writer is not None:
                _reset(writer)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_to_server: bool) -> None:
        """Read and deliver side by side: a delay holds back what is sent, not who sends."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_HELD_MAX)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._read(reader, held, is_to_server=is_to_server))
            both.create_task(self._deliver(held, writer))

    async def _read(
        self, reader: asyncio.StreamReader, held: "asyncio.Queue[tuple[float, bytes]]", *, is_to_server: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                chunk = await reader.read(CHUNK_BYTES_MAX)
            except ConnectionError:
                self._reset()  # One side was reset: so is the other.
                chunk = b""
            weather = self._proxy.weather
            seconds = weather.to_server_seconds if is_to_server else weather.to_client_seconds
            await held.put((loop.time() + seconds, chunk))
            if not chunk:
                return

    async def _deliver(self, held: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while True:
                delivers_at, chunk = await held.get()
                await self._proxy.pass_on(delivers_at)
                if not chunk:
                    # Who sends no more may still listen.
                    with suppress(OSError):
                        writer.write_eof()
                    return
                writer.write(chunk)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, with a reset instead of a farewell."""
    connected = writer.get_extra_info("socket")
    if connected is not None:
        with suppress(OSError):
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


@contextmanager
def tcp_proxy(server_host: str, server_port: int) -> Iterator[TcpProxy]:
    """Run a proxy in front of a server for as long as the block lasts."""
    proxy = TcpProxy(server_host, server_port)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


@contextmanager
def proxied_url(url: str) -> Iterator[tuple[TcpProxy, str]]:
    """Run a proxy in front of the server of a URL; yields it and the same URL by way of it."""
    there = urlsplit(url)
    assert there.hostname is not None
    assert there.port is not None
    with tcp_proxy(there.hostname, there.port) as proxy:
        credentials = there.netloc.rpartition("@")[0]
        address = f"127.0.0.1:{proxy.port}"
        yield proxy, there._replace(netloc=f"{credentials}@{address}" if credentials else address).geturl()
