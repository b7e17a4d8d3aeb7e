"""How a product is kept in tantivy: tokens in two fields, what filters and facets need, and what an answer shows."""

from typing import Any

import tantivy

from domain.search.documents import (
    TEXT_FIELDS,
    SearchDocument,
    category_keywords,
    keywords_of,
    text_of,
)
from domain.search.folding import fold
from domain.search.requests import Change, Removed
from stores.search_kept import attribute_term, keep


def build_schema() -> tantivy.Schema:
    """Return the schema; our analyser made the tokens, so tantivy only splits at spaces."""
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("product_id", tokenizer_name="raw", index_option="basic")
    builder.add_text_field("title", tokenizer_name="whitespace", index_option="position")
    builder.add_text_field("all", tokenizer_name="whitespace", index_option="position")
    for facet in ("brand", "category"):
        builder.add_text_field(facet, tokenizer_name="raw", index_option="basic", fast=True)
        builder.add_text_field(f"{facet}_folded", tokenizer_name="raw", index_option="basic")
    builder.add_json_field("attributes", tokenizer_name="raw", index_option="basic", fast=True)
    builder.add_text_field("attributes_folded", tokenizer_name="raw", index_option="basic")
    for number in ("price", "listed_at_seconds", "version"):
        builder.add_integer_field(number, indexed=True, fast=True)
    builder.add_float_field("rating", indexed=True, fast=True)
    builder.add_boolean_field("in_stock", indexed=True, fast=True)
    builder.add_boolean_field("removed", indexed=True)
    builder.add_bytes_field("kept", stored=True)
    return builder.build()


def tantivy_document(change: Change, schema: tantivy.Schema) -> tantivy.Document:
    """Return a product as tantivy takes it. Of a removed one only the version is kept, against what comes late."""
    if isinstance(change, Removed):
        fields = {"product_id": change.product_id, "version": change.version, "removed": True}
    else:
        fields = _fields_of(change)
    return tantivy.Document.from_dict(fields, schema)


def _fields_of(document: SearchDocument) -> dict[str, Any]:
    text = text_of(document)
    keywords = keywords_of(document)
    categories = category_keywords(document)
    return {
        "product_id": document.product_id,
        "title": text.title,
        "all": " ".join(getattr(text, field) for field in TEXT_FIELDS),
        "brand": [document.brand] if document.brand else [],
        "brand_folded": fold(document.brand),
        "category": categories,
        "category_folded": sorted({fold(name) for name in (*categories, *document.category_path)}),
        "attributes": keywords,
        "attributes_folded": [attribute_term(name, value) for name, values in keywords.items() for value in values],
        "price": document.price,
        "listed_at_seconds": document.listed_at_seconds,
        "version": document.version,
        "rating": document.rating or 0.0,
        "in_stock": document.in_stock,
        "removed": False,
        "kept": keep(document, text),
    }
