"""Routes that read JSON so that a bad value spoils its own field only, and is refused by that field's name."""

import json
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute

from serve.bodies import parse_json


class _TolerantRequest(Request):
    """Reads a body so that a bad value spoils its own field only."""

    async def json(self) -> Any:
        body = await self.body()
        try:
            return parse_json(body)
        except ValueError as fault:
            raise json.JSONDecodeError(f"not JSON: {fault}", "", 0) from None


class TolerantRoute(APIRoute):
    """A route whose handler gets tolerant requests."""

    def get_route_handler(self) -> Any:
        answer = super().get_route_handler()

        async def answer_tolerantly(request: Request) -> Any:
            return await answer(_TolerantRequest(request.scope, request.receive))

        return answer_tolerantly
