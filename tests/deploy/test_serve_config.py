"""The Serve config for production is what Serve takes, and its applications are those of the code."""

from importlib import import_module
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from ray import serve as ray_serve
from ray.serve.schema import ServeDeploySchema

from serve.application import DEPLOYMENT
from serve.layouts import APART
from tests.deploy.descriptions import manifest, serve_config


def _in_manifest() -> dict[str, Any]:
    return dict(yaml.safe_load(manifest("RayService")["spec"]["serveConfigV2"]))


def test_serve_takes_it() -> None:
    taken = ServeDeploySchema.model_validate(serve_config())

    assert {each.name: each.route_prefix for each in taken.applications} == dict(APART)


def test_two_applications_below_one_prefix_would_be_refused() -> None:
    config = serve_config()
    config["applications"][1]["route_prefix"] = "/"

    with pytest.raises(ValidationError, match="route prefix"):
        ServeDeploySchema.model_validate(config)


def test_the_manifest_for_kubernetes_has_the_same_config() -> None:
    assert _in_manifest() == serve_config()


def test_every_application_is_built_by_our_builder_and_configures_its_deployment() -> None:
    taken = ServeDeploySchema.model_validate(serve_config())

    for each in taken.applications:
        module, _, name = each.import_path.partition(":")
        built = getattr(import_module(module), name)(each.args)
        assert isinstance(built, ray_serve.Application)
        assert [deployment.name for deployment in each.deployments] == [DEPLOYMENT]


def test_what_shoppers_and_payments_need_has_two_replicas_at_least() -> None:
    taken = ServeDeploySchema.model_validate(serve_config())

    least = {each.name: each.deployments[0].autoscaling_config["min_replicas"] for each in taken.applications}

    assert all(least[name] >= 2 for name in ("shopping", "checkout", "orders", "payments"))


def test_a_builder_refuses_settings_in_the_file() -> None:
    from serve.app import build

    with pytest.raises(ValueError, match="database_url"):
        build({"database_url": "postgresql://..."})


def test_no_secret_is_in_it() -> None:
    assert "runtime_env" not in yaml.safe_dump(serve_config())
    assert all("args" not in each for each in serve_config()["applications"])
