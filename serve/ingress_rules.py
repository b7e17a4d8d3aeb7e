"""What HAProxy refuses by itself, before it costs a replica anything: lines for the configuration that Serve writes.

A pure function of text. The rules are the admission's own (`serve/admission.py`), by the same classes and shares of the
limit that the replicas tell in each of their answers. HAProxy counts what it has passed on and what is not answered
yet, so what waits in sockets and event loops counts too; a replica's own admission stays behind it.
"""

import re
from collections.abc import Iterator, Mapping

from serve.admission import SHARES
from serve.call_classes import (
    BY_CALL,
    CHANGED_BY_OPERATORS,
    LISTENING,
    OF_BUYERS,
    OF_HOLDERS,
    OF_OPERATORS,
    PROBES,
    READING,
    CallClass,
)
from serve.replies import LIMIT_HEADER, RETRY_SECONDS_MAX, Reply, busy, problem

BODY_BYTES_MAX = 8_192
"""Below HAProxy's buffer: a request with a larger body, or one of unknown size, is the replica's to judge."""
BODY_SECONDS_MAX = 15
POOL_SECONDS = 60
"""Shorter than a replica keeps an idle connection (90 s): it must not end one that a request is just sent on."""
_TOO_MANY = busy("Too many requests are under way")
_TOO_SLOW = problem("request-timeout", f"A body has {BODY_SECONDS_MAX} seconds to arrive")
_SECTION = re.compile(r"^(backend) (\S+)$|^\S")
_FIRST_LINE = "    http-reuse always"
_HTTP_CHECK = "    option httpchk"
_MARK = "    # Doorbuster refuses here what the replicas would (serve/ingress_rules.py)."


def with_shedding(config: str) -> str:
    """Return Serve's configuration with our rules in each backend of replicas; twice is once.

    A configuration that has none of what we look for stays as it is: the shop works, and sheds in its replicas.
    """
    if _MARK in config:
        return config
    return "".join(_amended(section) for section in _sections(config))


def _sections(config: str) -> Iterator[list[str]]:
    section: list[str] = []
    for line in config.splitlines(keepends=True):
        if _SECTION.match(line) and section:
            yield section
            section = []
        section.append(line)
    yield section


def _amended(section: list[str]) -> str:
    named = _SECTION.match(section[0]) if section else None
    lines = [line.rstrip() for line in section]
    is_ours = named is not None and named[1] and any(line.startswith(_HTTP_CHECK) for line in lines)
    if named is None or not is_ours or _FIRST_LINE not in lines:
        return "".join(section)
    at = lines.index(_FIRST_LINE)
    return "".join([*section[:at], "\n".join(shedding_rules(named[2])) + "\n", *section[at:]])


def shedding_rules(backend: str, shares: Mapping[CallClass, float] = SHARES) -> list[str]:
    """Return the lines for one backend.

    A request's share is the part of the limit, in percent, up to which its class is admitted; 0 is not counted and not
    refused. It is counted once its body is there, so slow clients hold nothing, and until its answer is sent.
    """
    limit = f"proc.door_limit_{re.sub(r'[^0-9A-Za-z]', '_', backend)}"
    retry = f"hdr Retry-After %[rand({RETRY_SECONDS_MAX}),add(1)]"
    lines = [
        # A replica's loop (uvloop) accepts one new connection a turn, seconds for hundreds under load: they are kept.
        f"default-server pool-purge-delay {POOL_SECONDS}s",
        "stick-table type integer size 64 store conn_cur",
        f"http-error {_answer(_TOO_SLOW)}",
        f"acl door_is_read method {' '.join(READING)}",
        *_shares(shares),
        f"http-request set-var(txn.door_share) int(0) if {{ req.hdr_val(content-length) gt {BODY_BYTES_MAX} }}",
        "http-request set-var(txn.door_share) int(0) if { req.hdr(transfer-encoding) -m found }",
        "acl door_is_counted var(txn.door_share) -m int gt 0",
        f"http-request wait-for-body time {BODY_SECONDS_MAX}s if door_is_counted",
        # The body is there and a change goes on without its caller: Serve need not watch the connection, which takes it
        # two tasks a request.
        "http-request set-header x-request-disconnect-disabled ?1 if door_is_counted !door_is_read",
        "http-request track-sc0 int(1) if door_is_counted",
        f"http-request set-var(txn.door_room) nbsrv,mul({limit}) if door_is_counted",
        "http-request set-var(txn.door_over) sc_conn_cur(0),mul(100),div(txn.door_room),sub(txn.door_share)"
        " if door_is_counted { var(txn.door_room) -m int gt 0 }",
        "acl door_is_refused var(txn.door_over) -m int gt 0",
        # Serve's manager would be told of each one, in Python.
        "http-request set-log-level silent if door_is_refused",
        f"http-request return {_answer(_TOO_MANY)} {retry} if door_is_refused",
        # Replicas differ: the limit follows all of them slowly, not each one's last word.
        f"acl door_is_told res.hdr({LIMIT_HEADER}) -m found",
        f"http-response set-var(txn.door_told) res.hdr({LIMIT_HEADER}),add(0) if door_is_told",
        f"http-response set-var({limit}) var(txn.door_told) if door_is_told !{{ var({limit}) -m found }}",
        f"http-response set-var({limit}) var({limit}),mul(7),add(txn.door_told),add(4),div(8) if door_is_told",
        f"http-response del-header {LIMIT_HEADER}",
    ]
    return [_MARK, *(f"    {line}" for line in lines)]


def _shares(shares: Mapping[CallClass, float]) -> Iterator[str]:
    """Yield the rules that find a request's share, as `call_classes.class_of` finds its class: the last one wins."""
    yield _share(shares[CallClass.BROWSING], "")
    yield _share(0, f"!door_is_read {{ path_beg {' '.join(CHANGED_BY_OPERATORS)} }}")
    yield _share(shares[CallClass.CHECKOUT], f"!door_is_read {{ path_beg {' '.join(OF_BUYERS)} }}")
    yield _share(0, f"!door_is_read {{ path_beg {' '.join(OF_BUYERS)} }} {{ path_end /shipments }}")
    yield _share(0, f"{{ path_beg {' '.join(OF_OPERATORS)} }}")
    yield _share(0, f"{{ path {' '.join(PROBES)} }}")
    yield _share(shares[CallClass.CART], f"{{ path_beg {' '.join(OF_HOLDERS)} }}")
    for (method, path), kind in BY_CALL.items():
        yield _share(shares[kind], f"{{ method {method} }} {{ path {path} }}")
    yield _share(0, f"{{ path {LISTENING} }}")


def _share(part: float, condition: str) -> str:
    return f"http-request set-var(txn.door_share) int({part * 100:.0f})" + (f" if {condition}" if condition else "")


def _answer(reply: Reply) -> str:
    return f"status {reply.status} content-type application/problem+json string '{reply.body.decode()}'"
