"""Search documents are made of what the catalogue keeps, nothing invented."""

from datetime import UTC, datetime

from domain.money import Money
from domain.search.documents import SearchDocument, keywords_of, text_of
from stores.products import Product, StoredProduct
from stores.search_documents import document_of, document_of_stored

KETTLE = Product(
    sku="K1",
    title="Novar kettle",
    description="Boils.",
    brand="Novar",
    price=Money(1_999, "EUR"),
    category_path=("Home", "Kettles"),
    attributes={
        "Colour": "Red",
        "package_weight": 3,
        "wireless": False,
        "litres": 1.5,
        "sizes": ["S", "M"],
        "name": "X",
    },
)


def test_a_product_of_a_file_is_in_stock_and_unrated() -> None:
    assert document_of(KETTLE) == SearchDocument(
        product_id="K1",
        title="Novar kettle",
        description="Boils.",
        brand="Novar",
        price=1_999,
        currency="EUR",
        category_path=("Home", "Kettles"),
        attributes=KETTLE.attributes,
    )


def test_a_stored_product_brings_what_people_think_of_it() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    stored = StoredProduct(
        product=KETTLE, seller_id=b"\x01\x02", rating=4.5, review_count=7, created_at=moment, updated_at=moment
    )

    document = document_of_stored(stored, in_stock=False, version=9)

    assert (document.rating, document.review_count, document.in_stock, document.version) == (4.5, 7, False, 9)
    assert (document.seller_id, document.listed_at_seconds) == ("0102", 1_767_225_600)


def test_what_names_a_model_is_no_filter() -> None:
    assert keywords_of(document_of(KETTLE)) == {
        "colour": ["Red"],
        "package_weight": ["3"],
        "wireless": ["false"],
        "litres": ["1.5"],
        "sizes": ["S", "M"],
    }


def test_every_number_and_measure_can_be_filtered_by() -> None:
    document = SearchDocument(
        product_id="1", title="Box", price=1, attributes={"Width": 1_234_567, "Depth": 0.1234567, "Colours": ["a", "a"]}
    )

    assert keywords_of(document) == {"width": ["1234567"], "depth": ["0.1234567"], "colours": ["a"]}


def test_attributes_are_known_by_their_names_however_written() -> None:
    document = SearchDocument(
        product_id="1", title="Box", price=1, attributes={"Model Name": "Nova 3", "Package Weight": "heavy"}
    )

    text = text_of(document)

    assert (text.model, text.attributes) == ("nova 3", "")
