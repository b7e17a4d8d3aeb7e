"""What the deployment descriptions at the root and in deploy/ say, parsed."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


def cluster() -> dict[str, Any]:
    """The launcher's `cluster.yaml`."""
    return dict(yaml.safe_load((ROOT / "cluster.yaml").read_text()))


def serve_config() -> dict[str, Any]:
    """The Serve config for production."""
    return dict(yaml.safe_load((ROOT / "deploy" / "serve.production.yaml").read_text()))


def manifest(kind: str) -> dict[str, Any]:
    """The one object of a kind in the Kubernetes manifest."""
    objects = list(yaml.safe_load_all((ROOT / "deploy" / "rayservice.yaml").read_text()))
    (found,) = [each for each in objects if each["kind"] == kind]
    return dict(found)


def variables(name: str) -> dict[str, str]:
    """The variables of an environment file in deploy/."""
    lines = (ROOT / "deploy" / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
