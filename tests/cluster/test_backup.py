"""A backup taken while people buy can be started as a shop: it conserves, and has what was promised before."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cluster.buyers import Buyers
from tests.cluster.patient_client import served_again
from tests.cluster.running_shop import DOORBUSTER, RunningShop, running_shop

BUYERS = 12
SKUS = 12

pytestmark = [pytest.mark.timeout(300)]


def _run(*arguments: str) -> None:
    finished = subprocess.run([DOORBUSTER, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


async def _buy_and_back_up(shop: RunningShop, target: Path) -> set[str]:
    """Back up in the middle of a rush; return the orders that were confirmed before, and not cancelled since."""
    buyers = Buyers(shop.url, shop.operator)
    await buyers.open(SKUS, BUYERS)
    finished = asyncio.Event()
    buying = asyncio.create_task(buyers.buy_until(finished))
    await served_again(buyers.told, 6 * BUYERS)
    promised = set(buyers.told.confirmed)
    await asyncio.to_thread(_run, "backup", str(target), "--data-dir", str(shop.data_dir))
    await served_again(buyers.told, 3 * BUYERS)
    finished.set()
    await asyncio.wait_for(buying, 60)
    await buyers.close()
    assert promised
    assert set(buyers.told.confirmed) > promised
    return promised


async def test_a_shop_that_was_lost_is_restored_and_told_of_the_payments_that_came_after_the_backup(
    tmp_path: Path,
) -> None:
    backup, lost, restored = tmp_path / "backup", tmp_path / "lost", tmp_path / "restored"
    with running_shop(lost) as shop:
        promised = await _buy_and_back_up(shop, backup)

    _run("restore", str(backup), "--data-dir", str(restored))
    # Providers keep their own books: no backup of ours takes them back in time.
    shutil.copytree(lost / "payments", restored / "payments")
    with running_shop(restored) as shop:
        client = Buyers(shop.url, shop.operator)
        await client.log_in()
        orders = [(await client.settled("GET", f"/v1/orders/{each}", client.as_operator)).json() for each in promised]
        report = await asyncio.to_thread(shop.audit_with_findings)
        await client.close()

    assert {order["state"] for order in orders} == {"confirmed"}
    assert report["discrepancies"] == []
    findings = report["money"]["discrepancies"]
    assert findings
    assert {each["where"] for each in findings} <= {"primary", "fallback"}
    assert not {each["subject"][:32] for each in findings} & {each.replace("-", "") for each in promised}
