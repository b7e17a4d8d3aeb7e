"""`doorbuster migrate`: tables brought up to date apart from a start, for upgrades in which two versions serve."""

from cli.data_directory import DataDirectory
from cli.output import print_json, print_line
from cli.settings import Settings
from stores.migrator import migrate


def migrate_shop(settings: Settings, *, contract: bool, as_json: bool) -> None:
    """Apply what is missing to the database given by URL, or else to the running shop's.

    Raises: DoorbusterError when there is neither, or a migration fails.
    """
    given = settings.database_url
    url = DataDirectory(settings.data_dir).running().database_url if given is None else given.get_secret_value()
    applied = migrate(url, contract=contract)
    if as_json:
        print_json({"applied": applied})
    else:
        print_line(f"Applied: {', '.join(applied)}" if applied else "The tables are up to date")
