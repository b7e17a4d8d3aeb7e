"""The tests' own TCP proxy does what it says; what is proved with it would prove nothing otherwise."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.tcp_proxy import TcpProxy, tcp_proxy


@pytest.fixture
async def echo() -> AsyncIterator[TcpProxy]:
    """A proxy in front of a server that sends everything back."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(65_536):
                writer.write(chunk)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    with tcp_proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        yield proxy
    server.close()


async def _ask(proxy: TcpProxy, said: bytes) -> tuple[bytes, float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    began = time.perf_counter()
    try:
        writer.write(said)
        writer.write_eof()
        told = await reader.read(-1)
    finally:
        writer.transport.abort()  # Also where it was reset: a writer that is only forgotten warns when it is collected.
    return told, time.perf_counter() - began


async def test_in_fair_weather_everything_passes_unchanged_and_in_order(echo: TcpProxy) -> None:
    said = bytes(range(256)) * 4_096

    told, _ = await _ask(echo, said)

    assert told == said


async def test_each_direction_is_delayed_by_itself_and_many_chunks_not_longer_than_one(echo: TcpProxy) -> None:
    echo.delay(to_server_seconds=0.1, to_client_seconds=0.2)

    told, seconds = await _ask(echo, b"x" * 1_000_000)

    assert len(told) == 1_000_000
    assert 0.29 < seconds < 1.0


async def test_a_cut_loses_what_is_under_way_and_the_next_connection_is_a_new_one(echo: TcpProxy) -> None:
    echo.delay(to_client_seconds=5.0)
    asked = asyncio.create_task(_ask(echo, b"lost"))
    await asyncio.sleep(0.1)

    cut = await asyncio.to_thread(echo.cut)

    assert cut == 1
    with pytest.raises(ConnectionError):
        await asked
    echo.heal()
    assert (await _ask(echo, b"kept"))[0] == b"kept"


async def test_a_black_hole_swallows_new_connections_too_and_gives_back_what_it_held(echo: TcpProxy) -> None:
    echo.stall()
    asked = asyncio.create_task(_ask(echo, b"held"))
    await asyncio.sleep(0.3)
    assert not asked.done()

    echo.heal()

    assert (await asked)[0] == b"held"


async def test_new_connections_can_be_refused(echo: TcpProxy) -> None:
    echo.refuse(True)

    with pytest.raises(OSError):  # noqa: PT011 - a reset, or no connection any more, by when it is noticed
        await _ask(echo, b"x")

    echo.heal()
    assert (await _ask(echo, b"x"))[0] == b"x"


async def test_it_ends_even_as_a_black_hole_that_holds_something() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    with tcp_proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        proxy.stall()
        asked = asyncio.create_task(_ask(proxy, b"held"))
        await asyncio.sleep(0.1)

    assert not proxy._thread.is_alive()
    await asyncio.gather(asked, return_exceptions=True)
    server.close()
