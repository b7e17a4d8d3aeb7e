"""The settings: `DOORBUSTER_*` variables or a `.env` file. Only the command line reads them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from domain.errors import DoorbusterError
from gateways.kafka_security import security_options
from gateways.payment_routing import DEFAULT_ROUTES, parse_routes
from gateways.traces import TraceSettings
from serve.layouts import Layout

PREFIX = "DOORBUSTER_"
SECRET_LENGTH_MIN = 32
_ADDRESS = r"([\w.-]+|\[[0-9a-fA-F:]+\]):\d{1,5}"


class SettingsFault(DoorbusterError):
    """A setting has a value that can't be used."""


class Settings(BaseSettings):
    """What can be set from outside; the descriptions are what `doorbuster settings` prints."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    data_dir: Annotated[Path, Field(description="Where servers keep their data and a running instance is found")] = (
        Path(".doorbuster")
    )
    host: Annotated[str, Field(description="Address the shop listens on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535, description="Port the shop listens on")] = 8000
    database_url: Annotated[
        SecretStr | None, Field(description="PostgreSQL 14 or newer to use; without it one is started")
    ] = None
    redis_url: Annotated[
        SecretStr | None, Field(description="Redis 6.2 or Valkey to use; without it one is started")
    ] = None
    kafka_servers: Annotated[
        str | None,
        Field(
            pattern=rf"^{_ADDRESS}(,{_ADDRESS})*$",
            description="Kafka that events go to, HOST:PORT,...; without it they go to streams in Redis",
        ),
    ] = None
    kafka_security: Annotated[
        SecretStr,
        Field(description="TLS and SASL for Kafka in librdkafka's names: security.protocol=SSL;ssl.ca.location=..."),
    ] = SecretStr("")
    payment_primary_url: Annotated[
        str | None, Field(description="First payment provider to use; without it a simulated one is started")
    ] = None
    payment_fallback_url: Annotated[
        str | None, Field(description="Payment provider that is asked when the first can't be; as above")
    ] = None
    payment_secret: Annotated[
        SecretStr | None, Field(description="Shared with payment providers that are given by URL")
    ] = None
    payment_routes: Annotated[
        str,
        Field(description="Which provider is asked first: COUNTRY[/METHOD]=NAME,...; * stands for all others"),
    ] = DEFAULT_ROUTES
    hold_seconds: Annotated[
        float, Field(gt=0, le=604_800, description="How long a reservation holds before it expires")
    ] = 900.0
    operator_email: Annotated[
        str | None, Field(description="E-mail of the first operator; made at first start if absent")
    ] = None
    operator_password: Annotated[
        SecretStr | None, Field(description="Password of the first operator; made at first start if absent")
    ] = None
    secret_key: Annotated[
        SecretStr | None,
        Field(description="Signs session tokens, 32 characters or more; made at first start if absent"),
    ] = None
    owner_count: Annotated[
        int | None,
        Field(
            ge=1,
            le=64,
            description="Inventory owners at first, later see `doorbuster owners`; one for each two cores if absent",
        ),
    ] = None
    customer_owner_count: Annotated[
        int, Field(ge=1, le=64, description="Owners of carts, and as many of checkouts")
    ] = 1
    audit_every_seconds: Annotated[
        float, Field(ge=0, le=604_800, description="How often all stock and money is audited; 0 for never")
    ] = 3_600.0
    replica_count: Annotated[int, Field(ge=1, le=256, description="Serve replicas that answer HTTP")] = 1
    ray_address: Annotated[
        str | None,
        Field(
            pattern=r"^[^\s/]+:\d{1,5}$",
            description="HOST:PORT of a Ray cluster: where `deploy` brings the shop, and other commands find it",
        ),
    ] = None
    applications: Annotated[
        Layout | None,
        Field(
            description="One Serve application, or several that fail apart; `up` takes one, `deploy` several if absent"
        ),
    ] = None
    proxy_location: Annotated[
        Literal["EveryNode", "HeadOnly"], Field(description="Which nodes of a cluster listen for HTTP")
    ] = "EveryNode"
    owner_cpus: Annotated[
        float, Field(ge=0, le=4, description="CPUs of its node that an owner in a cluster reserves")
    ] = 0.1
    drain_seconds: Annotated[
        float, Field(ge=0, le=600, description="How long replicas go on answering while the shop stops")
    ] = 0.0
    rate_limit_sessions: Annotated[
        int, Field(ge=0, description="New sessions and users from one address in a window; needs TRUSTED_PROXIES")
    ] = 600
    rate_limit_browsing: Annotated[int, Field(ge=0, description="Other reads of one customer in a window")] = 6_000
    rate_limit_reservations: Annotated[
        int, Field(ge=0, description="Reservations that one customer may ask for in a window; 0 for any number")
    ] = 3_000
    rate_limit_carts: Annotated[
        int, Field(ge=0, description="Calls of one customer about the cart or a reservation in a window")
    ] = 3_000
    rate_limit_checkouts: Annotated[
        int, Field(ge=0, description="Checkouts and changes of orders of one customer in a window")
    ] = 1_200
    rate_limit_window_seconds: Annotated[
        int, Field(ge=1, le=3_600, description="How long a window of the rate limits is")
    ] = 60
    trusted_proxies: Annotated[
        int,
        Field(
            ge=0,
            le=8,
            description="Proxies of yours before the shop that add to X-Forwarded-For; 0: callers without a token"
            " are not told apart, nor limited",
        ),
    ] = 0
    traces_url: Annotated[
        str | None,
        Field(
            pattern=r"^https?://[^\s/]+",
            description="OpenTelemetry collector that traces go to, over OTLP/HTTP; without it nothing is traced",
        ),
    ] = None
    traces_ratio: Annotated[
        float,
        Field(ge=0, le=1, description="Share of requests that are traced, besides those whose callers trace them"),
    ] = 0.01
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="Least severe lines in the logs")
    ] = "INFO"


def default_owner_count() -> int:
    """Return one owner for each two cores, 8 at most: owners beyond that make batches smaller and nothing faster."""
    return max(1, min(8, (os.cpu_count() or 1) // 2))


def read_settings() -> Settings:
    """Return the settings of this process.

    Raises: SettingsFault with one line that names the variable.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        raise SettingsFault(f"{name}: {first['msg']}") from error
    secret = settings.secret_key
    if secret is not None and len(secret.get_secret_value()) < SECRET_LENGTH_MIN:
        raise SettingsFault(f"{PREFIX}SECRET_KEY: has to have at least {SECRET_LENGTH_MIN} characters")
    if (settings.operator_email is None) != (settings.operator_password is None):
        raise SettingsFault(f"{PREFIX}OPERATOR_EMAIL and {PREFIX}OPERATOR_PASSWORD have to be given together")
    if (settings.payment_primary_url or settings.payment_fallback_url) and settings.payment_secret is None:
        raise SettingsFault(f"{PREFIX}PAYMENT_SECRET: has to be given with the URL of a payment provider")
    _check_routes(settings.payment_routes)
    try:
        security_options(settings.kafka_security.get_secret_value())
    except ValueError as error:
        raise SettingsFault(f"{PREFIX}KAFKA_SECURITY: {error}") from None
    return settings


def trace_settings(settings: Settings) -> TraceSettings | None:
    """Return where traces go, if they do."""
    url = settings.traces_url
    return None if url is None else TraceSettings(url=url, ratio=settings.traces_ratio)


def _check_routes(text: str) -> None:
    try:
        routes = parse_routes(text)
    except ValueError as error:
        raise SettingsFault(f"{PREFIX}PAYMENT_ROUTES: {error}") from None
    unknown = routes.names() - {"primary", "fallback"}
    if unknown:
        raise SettingsFault(f"{PREFIX}PAYMENT_ROUTES: there is no provider {', '.join(sorted(unknown))}")


def describe_settings() -> Iterator[tuple[str, str, str, str]]:
    """Yield name, type, default and meaning of each setting."""
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else str(field.default)
        yield PREFIX + name.upper(), _TYPES[name], default, field.description or ""


_TYPES = {
    "data_dir": "path",
    "host": "address",
    "port": "integer",
    "database_url": "URL",
    "redis_url": "URL",
    "kafka_servers": "addresses",
    "kafka_security": "secret",
    "payment_primary_url": "URL",
    "payment_fallback_url": "URL",
    "payment_secret": "secret",
    "payment_routes": "text",
    "hold_seconds": "seconds",
    "operator_email": "text",
    "operator_password": "secret",
    "secret_key": "secret",
    "owner_count": "integer",
    "customer_owner_count": "integer",
    "audit_every_seconds": "seconds",
    "replica_count": "integer",
    "ray_address": "address",
    "applications": "together or apart",
    "proxy_location": "EveryNode or HeadOnly",
    "owner_cpus": "number",
    "drain_seconds": "seconds",
    "rate_limit_sessions": "integer",
    "rate_limit_browsing": "integer",
    "rate_limit_reservations": "integer",
    "rate_limit_carts": "integer",
    "rate_limit_checkouts": "integer",
    "rate_limit_window_seconds": "seconds",
    "trusted_proxies": "integer",
    "traces_url": "URL",
    "traces_ratio": "number",
    "log_level": "DEBUG, INFO, WARNING or ERROR",
}
