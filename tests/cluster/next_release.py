"""The version after this one, as a directory of code: another number, and a table that it changes in two steps."""

import shutil
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PACKAGES = ("actors", "cli", "domain", "gateways", "loadtests", "pipelines", "serve", "stores")
VERSION = "99.0.0"
ADDS = "990_next_version"
TAKES_AWAY = "991_next_version.contract"
_METADATA = f"Metadata-Version: 2.1\nName: doorbuster\nVersion: {VERSION}\n"


def make_next_release(directory: Path) -> Path:
    """Write the next version's code into a directory, to be found on `PYTHONPATH` before what is installed."""
    for package in PACKAGES:
        shutil.copytree(CHECKOUT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    information = directory / f"doorbuster-{VERSION}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(_METADATA)
    migrations = directory / "stores" / "migrations"
    (migrations / f"{ADDS}.sql").write_text("ALTER TABLE skus ADD COLUMN next_version text DEFAULT 'known';\n")
    (migrations / f"{TAKES_AWAY}.sql").write_text("ALTER TABLE skus ALTER COLUMN next_version SET NOT NULL;\n")
    return directory
