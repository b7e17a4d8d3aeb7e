"""Real faults under load: after each, every answer that a client got is true and the audit finds nothing."""

import asyncio
import json
import os
import signal
import subprocess
import sys

import pytest

from tests.cluster.running_shop import RunningShop
from tests.cluster.under_load import pid_of, under_load

pytestmark = [pytest.mark.timeout(240)]


async def test_a_killed_owner_comes_back_with_everything_that_was_answered(shop: RunningShop) -> None:
    killed = shop.status()["owners"][0]

    async def fault() -> None:
        os.kill(killed["pid"], signal.SIGKILL)
        await asyncio.to_thread(shop.wait_for_another_pid, killed["owner_id"], killed["pid"])

    await under_load(shop, fault)


async def test_a_killed_replica_takes_no_answer_with_it(shop: RunningShop) -> None:
    replica = shop.status()["replicas"][0]

    async def fault() -> None:
        os.kill(replica["pid"], signal.SIGKILL)

    await under_load(shop, fault)

    assert replica["pid"] not in {each["pid"] for each in shop.status()["replicas"]}


async def test_a_killed_postgresql_loses_nothing_that_was_answered(shop: RunningShop) -> None:
    killed = shop.status()["postgres"]["pid"]

    async def fault() -> None:
        os.kill(killed, signal.SIGKILL)

    await under_load(shop, fault)

    assert shop.status()["postgres"]["pid"] not in {killed, None}


async def test_a_killed_valkey_costs_nothing_but_freshness(shop: RunningShop) -> None:
    killed = shop.status()["valkey"]["pid"]

    async def fault() -> None:
        os.kill(killed, signal.SIGKILL)

    await under_load(shop, fault)

    assert shop.status()["valkey"]["pid"] not in {killed, None}


async def test_a_paused_owner_that_wakes_after_its_successor_took_over_writes_nothing(shop: RunningShop) -> None:
    paused = shop.status()["owners"][0]

    async def fault() -> None:
        os.kill(paused["pid"], signal.SIGSTOP)
        try:
            await asyncio.to_thread(shop.wait_for_another_pid, paused["owner_id"], paused["pid"])
        finally:
            os.kill(paused["pid"], signal.SIGCONT)

    await under_load(shop, fault)

    for _ in range(50):
        if not _is_alive(paused["pid"]):
            break
        await asyncio.sleep(0.2)
    assert not _is_alive(paused["pid"]), "a superseded owner leaves"


async def test_a_killed_supervisor_is_not_missed(shop: RunningShop) -> None:
    owners = {each["owner_id"]: each["pid"] for each in shop.status()["owners"]}
    supervisor = pid_of("ray::SupervisorActor", near=next(iter(owners.values())))

    async def fault() -> None:
        os.kill(supervisor, signal.SIGKILL)
        await asyncio.sleep(4)

    await under_load(shop, fault)

    assert {each["owner_id"]: each["pid"] for each in shop.status()["owners"]} == owners


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_ledger_audit_runs_as_a_ray_job_over_what_is_left(shop: RunningShop) -> None:
    database_url = json.loads((shop.data_dir / "run.json").read_bytes())["database_url"]

    finished = subprocess.run(
        [sys.executable, "-m", "pipelines.ledger_audit", "--database-url", database_url],
        env=os.environ | {"RAY_ADDRESS": "local"},  # Whatever clusters this machine has, or had.
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "0 discrepancies" in finished.stdout
