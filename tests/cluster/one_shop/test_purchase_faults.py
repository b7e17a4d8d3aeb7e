"""Real faults while people buy: each acknowledged order is paid once and owed once, each refused one is neither."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.cluster.buyers import Buyers
from tests.cluster.patient_client import served_again
from tests.cluster.running_shop import RunningShop

BUYERS = 12
SKUS = 12
BEFORE_SECONDS = 1.0
STEP_SECONDS_MAX = 60.0

EVERY_STEP = (
    "RequestPayment",
    "Authorise",
    "AskProvider",
    "AllocateStock",
    "CapturePayment",
    "ReleaseStock",
    "FailOrder",
    "DeallocateStock",
    "InitiateRefund",
    "RefundPayment",
)
"""Those that a crowd of buyers performs all the time; the others are met in `tests/simulation`."""

pytestmark = [pytest.mark.timeout(300)]


async def _under_load(shop: RunningShop, fault: Callable[[], Awaitable[None]]) -> Buyers:
    """Let buyers buy before, during and after a fault, then check every answer and the audits of stock and money."""
    buyers = Buyers(shop.url, shop.operator)
    await buyers.open(SKUS, BUYERS)
    finished = asyncio.Event()
    buying = asyncio.create_task(buyers.buy_until(finished))
    await asyncio.sleep(BEFORE_SECONDS)
    await fault()
    await served_again(buyers.told, 3 * BUYERS)
    finished.set()
    await asyncio.wait_for(buying, 90)

    await buyers.check()
    report = await asyncio.to_thread(shop.audit)
    await buyers.close()
    assert report["ok"] is True
    assert report["discrepancies"] == []
    assert buyers.told.confirmed
    return buyers


async def test_a_killed_cart_owner_loses_no_line_and_no_hold(shop: RunningShop) -> None:
    killed = shop.customer_owner("cart-0")

    async def fault() -> None:
        os.kill(killed["pid"], signal.SIGKILL)

    await _under_load(shop, fault)

    assert shop.customer_owner("cart-0")["pid"] not in {killed["pid"], None}


@pytest.mark.parametrize("step", EVERY_STEP)
async def test_a_checkout_owner_may_die_after_any_step(shop: RunningShop, kill_order: Path, step: str) -> None:
    async def fault() -> None:
        await asyncio.to_thread(_wait_for_a_death_after, step, kill_order)

    await _under_load(shop, fault)


def _wait_for_a_death_after(step: str, kill_order: Path) -> None:
    done = Path(f"{kill_order}.done")
    kill_order.write_text(step)
    give_up_at = time.monotonic() + STEP_SECONDS_MAX
    while not done.exists():
        assert time.monotonic() < give_up_at, f"nobody performed {step}"
        time.sleep(0.05)
    done.unlink()


async def test_a_paused_checkout_owner_that_wakes_after_its_successor_took_over_pays_nothing_twice(
    shop: RunningShop,
) -> None:
    paused = shop.customer_owner("checkout-0")

    async def fault() -> None:
        os.kill(paused["pid"], signal.SIGSTOP)
        try:
            await asyncio.to_thread(shop.wait_for_another_customer_owner, "checkout-0", paused["pid"])
        finally:
            os.kill(paused["pid"], signal.SIGCONT)

    await _under_load(shop, fault)


@pytest.mark.parametrize("name", ["primary", "fallback"])
async def test_a_killed_payment_provider_charges_nobody_twice(shop: RunningShop, name: str) -> None:
    killed = shop.provider(name)["pid"]

    async def fault() -> None:
        os.kill(killed, signal.SIGKILL)

    await _under_load(shop, fault)

    assert shop.provider(name)["pid"] not in {killed, None}


async def test_a_killed_postgresql_forgets_no_payment(shop: RunningShop) -> None:
    killed = shop.status()["postgres"]["pid"]

    async def fault() -> None:
        os.kill(killed, signal.SIGKILL)

    await _under_load(shop, fault)


async def test_a_killed_valkey_costs_time_but_no_hold(shop: RunningShop) -> None:
    killed = shop.status()["valkey"]["pid"]

    async def fault() -> None:
        os.kill(killed, signal.SIGKILL)

    await _under_load(shop, fault)


async def test_carts_that_valkey_has_lost_are_rebuilt_from_their_holds(shop: RunningShop) -> None:
    buyers = Buyers(shop.url, shop.operator)
    await buyers.open(3, 1)
    (headers,) = buyers.buyers
    for number, sku in enumerate(buyers.skus, start=1):
        await buyers.settled("PUT", f"/v1/cart/items/{sku}", headers, json={"quantity": number})
    before = (await buyers.settled("GET", "/v1/cart", headers)).json()

    await asyncio.to_thread(shop.lose_valkey)
    after = (await buyers.settled("GET", "/v1/cart", headers)).json()
    bought = await buyers.check_out(headers, "tok_visa")

    def held(cart: dict[str, list[dict[str, object]]]) -> set[tuple[object, object, object]]:
        return {(item["sku"], item["quantity"], item["reservation_id"]) for item in cart["items"]}

    assert len(before["items"]) == 3
    assert held(after) == held(before)
    assert bought.status_code == 201
    assert (await asyncio.to_thread(shop.audit))["ok"] is True
    await buyers.close()


async def test_the_same_checkout_sent_many_times_at_once_is_one_order_and_one_charge(shop: RunningShop) -> None:
    buyers = Buyers(shop.url, shop.operator)
    await buyers.open(2, 8)

    for headers in buyers.buyers:
        await buyers.settled("PUT", f"/v1/cart/items/{buyers.skus[0]}", headers, json={"quantity": 1})
        answers = await asyncio.gather(*(buyers.check_out(headers, "tok_visa", key="the-one") for _ in range(6)))
        orders = {answer.json()["order_id"] for answer in answers}
        (order_id,) = orders
        assert {answer.status_code for answer in answers} == {201}
        assert (await buyers.event_types(order_id)).count("PaymentReceived") == 1

    assert (await asyncio.to_thread(shop.audit))["ok"] is True
    await buyers.close()


async def test_two_checkouts_of_one_cart_at_once_make_one_order(shop: RunningShop) -> None:
    buyers = Buyers(shop.url, shop.operator)
    await buyers.open(2, 10)

    for headers in buyers.buyers:
        await buyers.settled("PUT", f"/v1/cart/items/{buyers.skus[0]}", headers, json={"quantity": 1})
        answers = await asyncio.gather(*(buyers.check_out(headers, "tok_visa") for _ in range(2)))
        assert sorted(answer.status_code for answer in answers) == [201, 409]

    totals = await buyers.totals(buyers.skus[0])
    assert (totals["allocated"], totals["reserved"]) == (10, 0)
    assert (await asyncio.to_thread(shop.audit))["ok"] is True
    await buyers.close()


async def test_login_with_the_guests_cart_logout_and_checkout_at_once_sell_each_unit_once(shop: RunningShop) -> None:
    buyers = Buyers(shop.url, shop.operator)
    await buyers.open(2, 10)
    (lamp, desk) = buyers.skus

    async def log_in(guest: dict[str, str], user: dict[str, str]) -> None:
        await buyers.settled("POST", "/v1/sessions", guest, json=user)

    for number, guest in enumerate(buyers.buyers):
        user = {"email": f"{lamp.lower()}-{number}@example.com", "password": "correct horse"}
        await buyers.settled("POST", "/v1/users", json={**user, "name": "Ada"})
        for sku in (lamp, desk):
            await buyers.settled("PUT", f"/v1/cart/items/{sku}", guest, json={"quantity": 1})
        token = (await buyers.settled("POST", "/v1/sessions", json=user)).json()["token"]
        as_user = {"Authorization": f"Bearer {token}"}
        await asyncio.gather(
            log_in(guest, user), buyers.check_out(guest, "tok_visa"), buyers.check_out(as_user, "tok_visa")
        )

    for sku in (lamp, desk):
        totals = await buyers.totals(sku)
        assert totals["allocated"] + totals["reserved"] <= 10
        assert totals["available"] == totals["on_hand"] - totals["allocated"] - totals["reserved"]
    assert (await asyncio.to_thread(shop.audit))["ok"] is True
    await buyers.close()


def test_the_audit_command_fails_when_money_is_missing_from_the_books(shop: RunningShop) -> None:
    shop.execute(
        "DELETE FROM money_postings WHERE (order_id, version) IN (SELECT order_id, version FROM money_postings LIMIT 1)"
    )

    finished = subprocess.run(
        [str(Path(sys.executable).parent / "doorbuster"), "audit", "--json", "--data-dir", str(shop.data_dir)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert finished.returncode == 1, finished.stdout + finished.stderr
