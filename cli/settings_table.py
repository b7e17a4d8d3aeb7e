"""`doorbuster settings`: every setting with its type, default and meaning."""

from rich.table import Table

from cli.output import console, print_json, print_line
from cli.settings import describe_settings

_COLUMNS = ("variable", "type", "default", "meaning")


def show_settings(*, as_json: bool, as_markdown: bool) -> None:
    """Print the settings; as Markdown for the docs."""
    rows = list(describe_settings())
    if as_json:
        print_json([dict(zip(_COLUMNS, row, strict=True)) for row in rows])
    elif as_markdown:
        print_line("| " + " | ".join(_COLUMNS) + " |")
        print_line("|" + " --- |" * len(_COLUMNS))
        for name, kind, default, meaning in rows:
            print_line(f"| `{name}` | {kind} | {f'`{default}`' if default else ''} | {meaning} |")
    else:
        table = Table(*_COLUMNS)
        for row in rows:
            table.add_row(*row)
        console.print(table)
