"""What carts and orders ask of an owner, and the rig's books."""

import asyncio

from domain.commands import Command, Deallocate, Extend, Replace, Ship
from domain.outcomes import Outcome, Totals
from tests.actors.owner_rig import CUSTOMER, HOLD_SECONDS, SKU, Rig, id_of

ORDER = "order-1"
LONG_US = int(2 * HOLD_SECONDS * 1_000_000)


async def submit(rig: Rig, *commands: Command) -> list[Outcome]:
    return await rig.owner.submit(commands)


def later(rig: Rig, *commands: Command) -> "asyncio.Task[list[Outcome]]":
    return asyncio.create_task(submit(rig, *commands))


def replace(number: int, quantity: int, old: int, customer_id: bytes = CUSTOMER) -> Replace:
    return Replace(id_of(number), SKU, quantity, customer_id, id_of(old), CUSTOMER, in_cart=True)


def extend(number: int, lasts_us: int = LONG_US) -> Extend:
    return Extend(id_of(number), SKU, lasts_us)


def ship(number: int, reservation: int, quantity: int) -> Ship:
    return Ship(id_of(number), SKU, id_of(reservation), ORDER, quantity)


def deallocate(number: int, reservation: int) -> Deallocate:
    return Deallocate(id_of(number), SKU, id_of(reservation), ORDER)


def totals(rig: Rig) -> Totals:
    rig.audit()
    return rig.tables.facts([SKU])[SKU].totals()


async def successor(rig: Rig, incarnation: int = 2) -> None:
    rig.owner = rig.make_owner(incarnation=incarnation)
    await rig.owner.start()
