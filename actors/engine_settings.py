"""What owners and their callers need to know of the shop that they serve."""

from dataclasses import dataclass

from gateways.payment_routing import DEFAULT_ROUTES, ProviderAddress
from gateways.traces import TraceSettings


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """The stores, the payment providers, and how many owners there are of each kind.

    `customer_owner_count` is the number of cart owners, and of checkout owners. `owner_cpus` is what each owner's actor
    reserves of its node: more than nothing keeps owners off a head node that offers no CPUs. `audit_every_seconds` says
    how often all is audited, 0 for never. `kafka_servers` are those that events go to; without them they go to streams
    in Redis. `traces` says where traces go; without it nothing is traced.
    """

    database_url: str
    redis_url: str
    hold_seconds: float = 900.0
    owner_count: int = 2
    customer_owner_count: int = 1
    providers: tuple[ProviderAddress, ...] = ()
    payment_routes: str = DEFAULT_ROUTES
    owner_cpus: float = 0.0
    audit_every_seconds: float = 0.0
    kafka_servers: str = ""
    kafka_security: str = ""
    traces: TraceSettings | None = None
