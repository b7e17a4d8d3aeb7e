"""Completes the OpenAPI document: problem documents for every operation, and how callers name themselves."""

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from serve.cart_schemas import CartItemRequest, CartRequest
from serve.order_schemas import CheckoutRequest
from serve.replies import PROBLEMS
from serve.schemas import Problem, ReservationRequest
from serve.tokens import COOKIE

_SCHEMAS = "#/components/schemas/{model}"
_READ_BY_HAND: tuple[type[BaseModel], ...] = (ReservationRequest, CartItemRequest, CartRequest, CheckoutRequest)
_PROBLEM_SCHEMA = {"$ref": _SCHEMAS.format(model="Problem")}
_EVERYWHERE = ("method-not-allowed", "body-too-large", "rate-limited", "internal", "busy")
_CALLER: list[dict[str, list[str]]] = [{"bearer": []}, {"cookie": []}]
_REPLAYED = {
    "Idempotency-Replayed": {
        "description": "`true` when this is the first answer to the same key and payload again.",
        "schema": {"type": "string", "const": "true"},
    }
}
_RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}
_RATE_LIMIT = {
    "RateLimit-Policy": {"description": "The limit: `q` calls in `w` seconds.", "schema": {"type": "string"}},
    "RateLimit": {"description": "What is left: `r` calls, anew in `t` seconds.", "schema": {"type": "string"}},
}
_METHODS = frozenset(("get", "put", "post", "delete"))

PUBLIC: dict[str, Any] = {"security": []}
"""For operations that need no token."""


def problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of an operation: the problems that it can answer with, and those that all can."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for kind in (*kinds, *_EVERYWHERE):
        status, title = PROBLEMS[kind]
        response = by_status.setdefault(
            status, {"description": "", "content": {"application/problem+json": {"schema": _PROBLEM_SCHEMA}}}
        )
        response["description"] = "; ".join(filter(None, (response["description"], f"`{kind}`: {title}")))
        if kind == "busy":
            response["headers"] = _RETRY_AFTER
        elif kind == "rate-limited":
            response["headers"] = _RETRY_AFTER | _RATE_LIMIT
    return by_status


CALLER_PROBLEMS = ("unauthenticated", "validation")
MUTATION_PROBLEMS = (*CALLER_PROBLEMS, "idempotency-conflict")


def body_of(schema: type[BaseModel]) -> dict[str, Any]:
    """Return what documents a hot call's request, which its handler reads by itself; one of `_READ_BY_HAND`."""
    content = {"application/json": {"schema": {"$ref": _SCHEMAS.format(model=schema.__name__)}}}
    return {"requestBody": {"required": True, "content": content}}


def complete_openapi(api: FastAPI) -> dict[str, Any]:
    """Return the document, made once."""
    if api.openapi_schema is None:
        document = get_openapi(
            title=api.title, version=api.version, description=api.description, routes=api.routes, tags=api.openapi_tags
        )
        components = document.setdefault("components", {})
        schemas = components.setdefault("schemas", {})
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        _add_schemas(schemas)
        components["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
        }
        document["security"] = _CALLER
        for path in document["paths"].values():
            for method, operation in path.items():
                if method in _METHODS:
                    _note_replays(operation)
        api.openapi_schema = document
    return api.openapi_schema


def _add_schemas(schemas: dict[str, Any]) -> None:
    """Add the schemas that FastAPI does not see."""
    wanted: list[tuple[type[BaseModel], JsonSchemaMode]] = [(Problem, "serialization")]
    wanted += [(schema, "validation") for schema in _READ_BY_HAND]
    _, definitions = models_json_schema(wanted, ref_template=_SCHEMAS)
    schemas.update(definitions["$defs"])


def allowed_methods(api: FastAPI, path: str) -> str:
    """Return the methods of a path, for the `Allow` header: those of all its operations."""
    methods: set[str] = set()
    for template, operations in api.openapi()["paths"].items():
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template))
        if re.fullmatch(pattern, path):
            methods.update(name.upper() for name in operations if name in _METHODS)
    return ", ".join(sorted(methods))


def _note_replays(operation: dict[str, Any]) -> None:
    if not any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", ())):
        return
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            response["headers"] = {**response.get("headers", {}), **_REPLAYED}
