"""A checkout sent twice at the same moment: both are answered with one order, and one of them is told so."""

import asyncio
import dataclasses

import msgspec

from domain.orders import OrderCommand, OrderNow
from tests.contracts.order_samples import confirmed, pending
from tests.http.scripted_orders import ScriptedOrders
from tests.http.shop_in_process import RunningShop

BODY = {
    "payment_method": {"token": "tok_visa"},
    "shipping_address": {
        "name": "Ada",
        "line1": "1 Main St",
        "city": "Berlin",
        "postal_code": "10115",
        "country": "DE",
    },
}


async def test_the_same_checkout_twice_at_once_is_one_order_and_one_replay(running: RunningShop) -> None:
    def paid(command: OrderCommand) -> OrderNow:
        view = confirmed(pending()).view
        return OrderNow(msgspec.structs.replace(view, order_id=command.order_id))

    owner = ScriptedOrders()
    owner.answers.extend([paid, paid])
    running.front._state.shop = dataclasses.replace(running.shop, orders=owner)
    headers = {**await running.guest(), "Idempotency-Key": "key-1"}

    answers = await asyncio.gather(
        *(running.client.post("/v1/checkouts", json=BODY, headers=headers) for _ in range(2))
    )

    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert sorted(answer.headers.get("idempotency-replayed", "") for answer in answers) == ["", "true"]
