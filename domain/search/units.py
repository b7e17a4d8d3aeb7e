"""Knows quantities: how they are written, and the one way in which each is kept. `16 gigabytes` is `16gb`."""

import re

_SPELLINGS = {
    "tb": "tb terabyte terabytes tbyte",
    "gb": "gb gig gigs gigabyte gigabytes gbyte",
    "mb": "mb megabyte megabytes mbyte",
    "kb": "kb kilobyte kilobytes",
    "ghz": "ghz gigahertz",
    "mhz": "mhz megahertz",
    "khz": "khz kilohertz",
    "hz": "hz hertz",
    "w": "w watt watts",
    "kw": "kw kilowatt kilowatts",
    "va": "va",
    "kva": "kva",
    "v": "v volt volts",
    "mah": "mah",
    "wh": "wh",
    "amp": "amp amps ampere amperes",
    "in": "in inch inches inchs",
    "ft": "ft foot feet",
    "mm": "mm millimetre millimetres millimeter millimeters",
    "cm": "cm centimetre centimetres centimeter centimeters",
    "m": "m metre metres meter meters",
    "kg": "kg kilo kilos kilogram kilograms",
    "g": "g gram grams gramme grammes",
    "lb": "lb lbs pound pounds",
    "oz": "oz ounce ounces",
    "l": "l litre litres liter liters",
    "ml": "ml millilitre millilitres milliliter milliliters",
    "gal": "gal gallon gallons",
    "dpi": "dpi",
    "mp": "mp megapixel megapixels mpix",
    "mbps": "mbps mbit",
    "gbps": "gbps gbit",
    "u": "u",
    "pc": "pcs piece pieces",
}
_UNITS = {spelling: unit for unit, spellings in _SPELLINGS.items() for spelling in spellings.split()}
UNIT_WORDS = frozenset(spelling for spelling in _UNITS if len(spelling) > 3)  # noqa: PLR2004
"""Units that are words and can be misspelled."""
# `in` is also a preposition, `u` and `g` are also parts of names: these count only where no space stands between.
_TIGHT_ONLY = frozenset(("in", "u", "g", "m"))
_NUMBER = r"(?P<number>\d{1,9}(?!\d)(?:\.\d{1,9}(?!\d))?)"
"""Longer numbers are no quantities, and Python refuses to convert those of thousands of digits."""
_LOOSE = "|".join(sorted((spelling for spelling in _UNITS if spelling not in _TIGHT_ONLY), key=len, reverse=True))
_TIGHT = "|".join(sorted(_TIGHT_ONLY, key=len, reverse=True))
# `45 w/ charger` has a charger; `2-in-1` is not two inches.
_NO_WITH = r"(?!\sw/(?:\s|o\b|$))"
QUANTITY = re.compile(
    rf"(?<![\w.]){_NUMBER}(?:{_NO_WITH}(?:\s|-)?(?P<loose>{_LOOSE})|-?(?P<tight>{_TIGHT})(?!-\d)|\s?(?P<inch>\"|''))"
    r"(?![a-z0-9])"
)
"""Finds a quantity in folded text."""

_LARGER = {"gb": "tb", "mb": "gb", "mhz": "ghz"}


def quantity_token(found: re.Match[str]) -> str:
    """Return the token of a quantity: number and unit together, `1000gb` as `1tb`."""
    unit = "in" if found["inch"] else _UNITS[found["loose"] or found["tight"]]
    number = _plain(found["number"])
    larger = _LARGER.get(unit)
    if larger is not None and "." not in number:
        for base in (1000, 1024):
            if int(number) >= base and int(number) % base == 0:
                return f"{int(number) // base}{larger}"
    return f"{number}{unit}"


def _plain(number: str) -> str:
    """Return a number without what says nothing: `15.60` is `15.6`, `007` is `7`."""
    whole, _, fraction = number.partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole.lstrip('0') or '0'}.{fraction}" if fraction else whole.lstrip("0") or "0"
