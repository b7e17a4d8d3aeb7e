"""How a producer proves who it is to Kafka, and Kafka to it: TLS and SASL, in librdkafka's own names."""

from collections.abc import Mapping

_ALLOWED = ("security.protocol", "enable.ssl.certificate.verification")
_ALLOWED_PREFIXES = ("sasl.", "ssl.")


def security_options(text: str) -> Mapping[str, str]:
    """Return librdkafka's options from `NAME=VALUE;NAME=VALUE`; values may contain `=`, not `;`. No text, none.

    Raises: ValueError for what is not an option of TLS or SASL: how events are sent is not for settings to say.
    """
    options = {}
    for number, part in enumerate(text.split(";") if text else (), start=1):
        name, _, value = part.partition("=")
        name = name.strip()
        # What stands there may be the rest of a password: it is not repeated.
        if not value or (name not in _ALLOWED and not name.startswith(_ALLOWED_PREFIXES)):
            raise ValueError(f"part {number} is no option of TLS or SASL, such as security.protocol=SASL_SSL")
        options[name] = value
    if options and "security.protocol" not in options:
        raise ValueError("without security.protocol nothing is encrypted and nobody logs in")
    return options
