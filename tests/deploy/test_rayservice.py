"""The RayService: the fields that KubeRay's `ray.io/v1` knows, pods that are what the shop relies on.

KubeRay's own schema can't be had from a package registry, so that its fields are written down here, and the embedded
Serve config is checked by Serve's schema in `test_serve_config`.
"""

from typing import Any

import pytest
import yaml

from cli.settings import PREFIX
from tests.deploy.descriptions import manifest, variables

_SPEC = {"upgradeStrategy", "serveConfigV2", "rayClusterConfig"}
_CLUSTER = {
    "rayVersion",
    "enableInTreeAutoscaling",
    "autoscalerOptions",
    "gcsFaultToleranceOptions",
    "headGroupSpec",
    "workerGroupSpecs",
}
_GCS = {"redisAddress", "redisUsername", "redisPassword", "externalStorageNamespace"}
_HEAD = {"rayStartParams", "template", "serviceType", "headService"}
_WORKERS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
_CONTAINER = {"name", "image", "envFrom", "env", "ports", "resources", "readinessProbe", "livenessProbe"}


def _cluster() -> dict[str, Any]:
    return dict(manifest("RayService")["spec"]["rayClusterConfig"])


def _pods() -> dict[str, dict[str, Any]]:
    cluster = _cluster()
    workers = {each["groupName"]: each["template"]["spec"] for each in cluster["workerGroupSpecs"]}
    return {"head": cluster["headGroupSpec"]["template"]["spec"], **workers}


def test_it_has_only_fields_that_kuberay_knows() -> None:
    service = manifest("RayService")
    cluster = _cluster()

    assert service["apiVersion"] == "ray.io/v1"
    assert set(service["spec"]) == _SPEC
    assert set(cluster) <= _CLUSTER
    assert set(cluster["headGroupSpec"]) <= _HEAD
    assert all(set(each) <= _WORKERS for each in cluster["workerGroupSpecs"])
    assert set(cluster["gcsFaultToleranceOptions"]) <= _GCS
    assert all(set(container) <= _CONTAINER for pod in _pods().values() for container in pod["containers"])


def test_ray_is_the_version_that_the_lock_file_names() -> None:
    import ray

    assert _cluster()["rayVersion"] == ray.__version__


def test_start_parameters_are_strings_as_kuberay_wants_them() -> None:
    cluster = _cluster()
    given = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]

    assert all(isinstance(value, str) for each in given for value in each["rayStartParams"].values())


def test_the_head_runs_nothing_and_remembers_in_redis() -> None:
    cluster = _cluster()

    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster["gcsFaultToleranceOptions"]["redisAddress"]
    assert cluster["gcsFaultToleranceOptions"]["externalStorageNamespace"]


def test_there_is_never_a_second_cluster_on_the_same_database() -> None:
    assert manifest("RayService")["spec"]["upgradeStrategy"] == {"type": "None"}


def test_workers_scale_and_two_are_always_there() -> None:
    (workers,) = _cluster()["workerGroupSpecs"]

    assert _cluster()["enableInTreeAutoscaling"] is True
    assert 2 <= workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    requested = workers["template"]["spec"]["containers"][0]["resources"]
    assert requested["requests"] == requested["limits"], "Ray counts on what it is told that it has"


@pytest.mark.parametrize("pod", ["head", "workers"])
def test_every_pod_is_asked_whether_it_lives_and_whether_it_serves(pod: str) -> None:
    (container,) = _pods()[pod]["containers"]

    for probe in (container["readinessProbe"], container["livenessProbe"]):
        assert set(probe["httpGet"]) == {"path", "port"}
        assert probe["failureThreshold"] >= 1
        assert probe["timeoutSeconds"] < probe["periodSeconds"] or probe["timeoutSeconds"] <= 2


def test_workers_bear_the_heads_absence_as_long_as_ray_does() -> None:
    (container,) = _pods()["workers"]["containers"]
    probe = container["livenessProbe"]

    borne_seconds = probe["periodSeconds"] * probe["failureThreshold"]

    assert borne_seconds >= int(variables("ray.env")["RAY_gcs_rpc_server_reconnect_timeout_s"])


@pytest.mark.parametrize("pod", ["head", "workers"])
def test_every_pod_has_the_variables_and_no_secret_is_in_the_manifest(pod: str) -> None:
    (container,) = _pods()[pod]["containers"]
    config = manifest("ConfigMap")

    assert container["envFrom"] == [
        {"configMapRef": {"name": config["metadata"]["name"]}},
        {"secretRef": {"name": "doorbuster"}},
    ]
    assert variables("ray.env").items() <= config["data"].items()
    assert all(isinstance(value, str) for value in config["data"].values())
    assert PREFIX not in yaml.safe_dump(config)


def test_owners_and_tables_are_brought_by_a_job_that_may_be_repeated() -> None:
    job = manifest("Job")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["restartPolicy"] == "OnFailure"
    assert container["command"][:3] == ["ray", "job", "submit"]
    assert "doorbuster deploy --no-front" in container["args"][-1]
    service = manifest("RayService")["metadata"]["name"]
    assert f"http://{service}-head-svc:8265" in container["command"]


def test_only_the_shops_port_is_open_to_everyone() -> None:
    rules = manifest("NetworkPolicy")["spec"]["ingress"]

    to_all = [port["port"] for rule in rules if "from" not in rule for port in rule["ports"]]

    assert to_all == [8000]
