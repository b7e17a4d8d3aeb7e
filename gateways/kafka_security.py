"""How a producer proves who it is to Kafka, and Kafka to it: TLS and SASL, in librdkafka's own names."""

from collections.abc import Mapping

_ALLOWED = ("security.protocol", "enable.ssl.certificate.verification")
_ALLOWED_PREFIXES = ("sasl.", "ssl.")


def security_options(text: str) -> Mapping[str, str]:
    """Return librdkafka's options from `NAME=VALUE;NAME=VALUE`; values may contain `=`. An empty text has none.

    Raises: ValueError for what is not an option of TLS or SASL: how events are sent is not for settings to say.
    """
    options = {}
    for part in filter(None, (each.strip() for each in text.split(";"))):
        name, is_given, value = part.partition("=")
        name = name.strip()
        if not is_given or not value:
            raise ValueError(f"{name!r} has no value; options look like security.protocol=SASL_SSL")
        if name not in _ALLOWED and not name.startswith(_ALLOWED_PREFIXES):
            raise ValueError(f"{name!r} is no option of TLS or SASL")
        options[name] = value.strip()
    return options
