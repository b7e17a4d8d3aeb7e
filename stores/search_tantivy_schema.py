"""How a product is kept in tantivy: tokens in two fields, what filters and facets need, and what an answer shows."""

import msgspec
import tantivy

from domain.search.documents import (
    TEXT_FIELDS,
    IndexedText,
    SearchDocument,
    category_keywords,
    keywords_of,
    text_of,
)
from domain.search.folding import fold
from domain.search.requests import Hit

_ENCODER = msgspec.msgpack.Encoder()
_FOLDED_SEPARATOR = "="


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """What is stored of a product, and handed back with a hit."""

    document: SearchDocument
    text: IndexedText


_KEPT = msgspec.msgpack.Decoder(_Kept)


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
    builder.add_bytes_field("kept", stored=True)
    return builder.build()


def tantivy_document(document: SearchDocument, schema: tantivy.Schema) -> tantivy.Document:
    """Return a product as tantivy takes it."""
    text = text_of(document)
    keywords = keywords_of(document)
    categories = category_keywords(document)
    shown = msgspec.structs.replace(document, description="", attributes={})
    fields = {
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
        "kept": _ENCODER.encode(_Kept(shown, text)),
    }
    return tantivy.Document.from_dict(fields, schema)


def attribute_term(name: str, value: str) -> str:
    """Return an attribute's name and value as one term, so that they can be filtered by together."""
    return f"{name}{_FOLDED_SEPARATOR}{fold(value)}"


def hit_from(document: tantivy.Document, score: float) -> Hit:
    """Return what was kept of a product."""
    kept = _KEPT.decode(document.get_first("kept"))
    return Hit(document=kept.document, text=kept.text, score=score)
