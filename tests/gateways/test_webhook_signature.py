"""A webhook is believed if it was signed with the secret that is shared with its provider."""

import pytest

from gateways.webhook_signature import is_signed, sign

SECRET, BODY = b"between us", b'{"payment_key":"k-1"}'


def test_what_was_signed_with_the_secret_is_accepted() -> None:
    assert is_signed(SECRET, BODY, sign(SECRET, BODY, 1_700_000_000))


def test_a_signature_of_long_ago_is_accepted() -> None:
    assert is_signed(SECRET, BODY, sign(SECRET, BODY, 1))


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        "t=1",
        "v1=",
        "t=1,v1=",
        "t=1,v1=00",
        "v1=\u00e9,t=1",
        sign(b"another secret", BODY, 1_700_000_000),
        sign(SECRET, b"another body", 1_700_000_000),
        sign(SECRET, BODY, 1_700_000_000).replace("t=1700000000", "t=1700000001"),
        sign(SECRET, BODY, 1_700_000_000) + " " * 200,
    ],
)
def test_anything_else_is_refused(header: str) -> None:
    assert not is_signed(SECRET, BODY, header)
