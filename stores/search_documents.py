"""Makes search documents of what the catalogue keeps."""

import msgspec

from domain.search.documents import SearchDocument
from stores.products import Product, StoredProduct


def document_of(product: Product) -> SearchDocument:
    """Return a product that only a file knows: nobody has rated it, and it is in stock."""
    return SearchDocument(
        product_id=product.sku,
        title=product.title,
        description=product.description,
        category_path=product.category_path,
        brand=product.brand,
        price=product.price.amount_minor,
        currency=product.price.currency,
        attributes=product.attributes,
    )


def document_of_stored(stored: StoredProduct, *, in_stock: bool, version: int) -> SearchDocument:
    """Return a product of the catalogue as the index keeps it."""
    return msgspec.structs.replace(
        document_of(stored.product),
        rating=stored.rating,
        review_count=stored.review_count,
        seller_id=stored.seller_id.hex(),
        in_stock=in_stock,
        listed_at_seconds=int(stored.created_at.timestamp()),
        version=version,
    )
