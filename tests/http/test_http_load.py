"""The load client counts every answer, whatever the pieces in which it comes, and outlives lost connections."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from loadtests.http_load import Journey, LoadPlan, build_request, response_end, run_journeys, run_load

CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"
Answerer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


async def serve(answer: Answerer) -> tuple[asyncio.Server, int]:
    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0
                )
                await answer(await reader.readexactly(length), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


def plan_for(port: int, **changes: float) -> LoadPlan:
    return LoadPlan(
        host="127.0.0.1", port=port, connections=4, seconds=5.0, requests_max=int(changes.get("requests", 40))
    )


async def test_each_request_is_sent_in_turn_and_answered_once() -> None:
    seen: list[bytes] = []

    async def answer(body: bytes, writer: asyncio.StreamWriter) -> None:
        seen.append(body)
        writer.write(CREATED)

    server, port = await serve(answer)
    told: list[tuple[int, int, bytes]] = []
    requests = [build_request("POST", "/v1/reservations", token="t", body=str(n).encode()) for n in range(10)]

    async with server:
        figures = await run_load(plan_for(port), requests, lambda *answer: told.append(answer))

    assert sorted(seen) == sorted(str(n % 10).encode() for n in range(40))
    assert len(told) == 40
    assert set(told) == {(n, 201, b"{}") for n in range(10)}
    assert figures.status_counts() == {201: 40}
    assert figures.errors == 0
    assert 0 < figures.percentile_ms(50) <= figures.percentile_ms(99)


async def test_a_lost_connection_is_counted_and_replaced() -> None:
    count = 0

    async def answer(_body: bytes, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        if count == 7:
            writer.close()
        else:
            writer.write(CREATED)

    server, port = await serve(answer)

    async with server:
        figures = await run_load(plan_for(port), [build_request("GET", "/")])

    assert figures.errors == 1
    assert figures.status_counts() == {201: 39}


async def test_a_server_that_is_not_there_is_told() -> None:
    server, port = await serve(lambda *_: asyncio.sleep(0))
    server.close()
    await server.wait_closed()

    with pytest.raises(OSError, match=str(port)):
        await run_load(plan_for(port), [build_request("GET", "/")])


def test_a_response_is_complete_only_with_all_of_its_body() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    bare = b"HTTP/1.1 204 No Content\r\n\r\n"

    assert response_end(CREATED) == (len(CREATED) - 2, len(CREATED))
    assert all(response_end(CREATED[:end]) is None for end in range(len(CREATED)))
    assert response_end(chunked) == (chunked.index(b"2\r\n{}"), len(chunked))
    assert response_end(chunked[:-1]) is None
    assert response_end(bare) == (len(bare), len(bare))


async def test_each_connection_goes_its_own_way_and_steps_are_told_apart() -> None:
    seen: list[bytes] = []

    async def answer(body: bytes, writer: asyncio.StreamWriter) -> None:
        seen.append(body)
        writer.write(CREATED if body.endswith(b"pay") else CREATED.replace(b"201 Created", b"200 OK"))

    def journey(connection: int) -> Journey:
        while True:
            for step, name in enumerate(("hold", "pay")):
                yield step, build_request("POST", "/", body=f"{connection} {name}".encode())

    server, port = await serve(answer)

    async with server:
        figures = await run_journeys(plan_for(port), [journey(number) for number in range(4)])

    for connection in range(4):
        steps = [body for body in seen if body.startswith(b"%d" % connection)]
        assert steps[:2] == [b"%d hold" % connection, b"%d pay" % connection]
    assert set(figures.of_step(0).statuses) == {200}
    assert set(figures.of_step(1).statuses) == {201}
    assert len(figures.of_step(0).statuses) + len(figures.of_step(1).statuses) == 40
