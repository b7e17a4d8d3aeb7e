"""`cluster.yaml` is what Ray's launcher takes, and keeps what the shop relies on."""

import copy
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from cli.settings import PREFIX, Settings
from tests.deploy.descriptions import ROOT, cluster, variables


def _prepared(config: dict[str, Any]) -> dict[str, Any]:
    return dict(prepare_config(copy.deepcopy(config)))


def test_the_launcher_takes_it_and_fills_it_out() -> None:
    prepared = _prepared(cluster())

    validate_config(prepared)

    assert prepared["available_node_types"]["head"]["max_workers"] == 0


def test_a_misspelt_field_would_be_refused() -> None:
    config = cluster()
    config["idle_timeout_minuets"] = config.pop("idle_timeout_minutes")

    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minuets"):
        validate_config(_prepared(config))


def test_for_machines_of_ones_own_the_local_provider_takes_it_too() -> None:
    config = cluster()
    for name in ("head_node_type", "available_node_types"):
        del config[name]
    workers = ["10.0.0.11", "10.0.0.12", "10.0.0.13"]
    config |= {
        "provider": {"type": "local", "head_ip": "10.0.0.10", "worker_ips": workers},
        "max_workers": len(workers),
        "head_setup_commands": [],
    }

    validate_config(_prepared(config))


def test_the_head_runs_nothing_and_two_workers_are_always_there() -> None:
    types = cluster()["available_node_types"]

    assert types["head"]["resources"] == {"CPU": 0}
    assert types["worker"]["min_workers"] >= 2
    assert types["worker"]["max_workers"] > types["worker"]["min_workers"]


@pytest.mark.parametrize("commands", ["head_start_ray_commands", "worker_start_ray_commands"])
def test_every_node_has_the_variables_before_ray_starts(commands: str, tmp_path: Path) -> None:
    """The command is run as it stands, with a `ray` that only tells what it sees."""
    start = cluster()[commands][-1].replace("/home/ubuntu/doorbuster", str(tmp_path))
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "ray.env").write_text((ROOT / "deploy" / "ray.env").read_text())
    (tmp_path / "deploy" / "production.env").write_text((ROOT / "deploy" / "production.env.example").read_text())
    ray = tmp_path / "ray"
    ray.write_text('#!/bin/sh\necho "$@"\nenv\n')
    ray.chmod(0o755)
    script = f"ulimit() {{ :; }}; {start}"

    told = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "RAY_HEAD_IP": "10.0.0.10"},
        capture_output=True,
        text=True,
        check=True,
        timeout=20,
    ).stdout.splitlines()

    assert shlex.split(told[0])[0] == "start"
    assert "--head" in told[0] or "--address=10.0.0.10:6379" in told[0]
    expected = variables("ray.env") | variables("production.env.example")
    assert {f"{name}={value}" for name, value in expected.items()} <= set(told)


def test_haproxy_and_the_heads_memory_are_among_the_variables() -> None:
    assert variables("ray.env")["RAY_SERVE_ENABLE_HA_PROXY"] == "1"
    example = variables("production.env.example")
    assert {"RAY_REDIS_ADDRESS", "RAY_external_storage_namespace", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"} <= set(example)


def test_the_example_names_settings_that_exist_and_all_that_a_cluster_needs() -> None:
    named = {name for name in variables("production.env.example") if name.startswith(PREFIX)}

    assert named <= {PREFIX + name.upper() for name in Settings.model_fields}
    needed = {"DATABASE_URL", "REDIS_URL", "PAYMENT_PRIMARY_URL", "PAYMENT_FALLBACK_URL", "PAYMENT_SECRET"}
    assert {PREFIX + name for name in needed | {"SECRET_KEY"}} <= named


def test_nodes_install_what_the_lock_file_names() -> None:
    makefile = (ROOT / "Makefile").read_text()

    assert any("make setup" in command for command in cluster()["setup_commands"])
    assert "--require-hashes -r requirements.lock" in makefile
