"""`doorbuster search evaluate`: figures for people and programs, a report, and one line for what can't be read."""

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import application
from pipelines.search_evaluation import UnreadableRatings, read_ratings

PRODUCTS = [
    {"sku": "K1", "title": "Lumenko kettle", "price": 100},
    {"sku": "K2", "title": "Halvane <b>kettle</b>", "price": 100},
    {"sku": "L1", "title": "Lumenko lamp", "price": 100},
]


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    (tmp_path / "shop.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, PRODUCTS)).encode()))
    (tmp_path / "rated.csv").write_text("query,product_id,rating\nkettle,K1,3\nlamp,L1,0\nunicorn,K1,0\n")
    (tmp_path / "spelling.tsv").write_text('query\tcorrection\nlumenko ketle"\tlumenko kettle"\n')
    return [
        *("search", "evaluate", "--catalogue", str(tmp_path / "shop.jsonl.gz")),
        *("--ratings", str(tmp_path / "rated.csv"), "--spelling", str(tmp_path / "spelling.tsv")),
        *("--report", str(tmp_path / "out" / "report.html")),
    ]


def test_figures_are_printed_for_programs(arguments: list[str]) -> None:
    result = CliRunner().invoke(application, [*arguments, "--json"], catch_exceptions=False)

    figures = json.loads(result.stdout)
    assert figures["relevance"]["ndcg"] == 1.0
    assert figures["relevance"]["zero_result_rate"] == pytest.approx(1 / 3)
    assert [verdict["query"] for verdict in figures["relevance"]["verdicts"]] == ["kettle"]
    assert 1 <= figures["recovery"].pop("queries") <= 3
    assert figures["recovery"] == {"with_correction": 1.0, "without_correction": 0.0}
    assert [each["corrected_rate"] for each in figures["spelling"]] == [1.0, 0.0, 1.0]


def test_figures_are_printed_for_people_and_reported(arguments: list[str], tmp_path: Path) -> None:
    result = CliRunner().invoke(application, arguments, catch_exceptions=False)

    assert "nDCG@10 1.0000  MRR@10 1.0000  no result 33.3% of 3 queries" in result.stdout
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Halvane &lt;b&gt;kettle&lt;/b&gt;" in page


@pytest.mark.parametrize(
    "content",
    ["", "a,b\n1,2\n", "query,product_id,rating\nkettle,K1,good\n", "query,product_id,rating\nkettle,K1\n", "\xff"],
)
def test_ratings_that_cannot_be_read_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rated.csv"
    path.write_bytes(content.encode("latin-1"))

    with pytest.raises(UnreadableRatings, match=r"rated\.csv"):
        read_ratings(path)
