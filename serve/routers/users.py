"""Users: anybody becomes a shopper; operators grant more."""

from fastapi import APIRouter

from domain.identity import ID_BYTES
from serve.dependencies import (
    CallerOrNobody,
    IdempotencyKey,
    Operator,
    ShopHere,
    answered,
    claim_on,
    refused,
)
from serve.documented import MUTATION_PROBLEMS, PUBLIC, problems
from serve.replies import ReplyResponse, problem
from serve.routing import TolerantRoute
from serve.schemas import RoleAnswer, RoleRequest, UserAnswer, UserRequest
from stores.idempotency import Answer, Connection
from stores.identities import EmailTaken, User, grant_role, normalise_email, register_user

router = APIRouter(prefix="/v1", tags=["Who is calling"], route_class=TolerantRoute)


@router.post(
    "/users",
    status_code=201,
    response_model=UserAnswer,
    responses=problems("unauthenticated", "email-taken", "validation", "idempotency-conflict"),
    openapi_extra=PUBLIC,
    operation_id="create_user",
    summary="Become a shopper",
)
async def create_user(
    shop: ShopHere, caller: CallerOrNobody, wanted: UserRequest, key: IdempotencyKey = None
) -> ReplyResponse:
    """Register an e-mail address with a password."""
    user = User(
        user_id=shop.new_id(),
        email=normalise_email(wanted.email),
        name=wanted.name,
        role="shopper",
        password_hash=await shop.passwords.hash(wanted.password),
    )

    async def register(connection: Connection) -> Answer:
        registered = await register_user(connection, user)
        if isinstance(registered, EmailTaken):
            return refused(problem("email-taken", "A user with this e-mail address exists"))
        return Answer(201, {"user_id": registered.user_id.hex()})

    return answered(await shop.keys.run_once(claim_on(shop, caller, key, "create_user", wanted), register))


@router.put(
    "/users/{user_id}/role",
    response_model=RoleAnswer,
    responses=problems(*MUTATION_PROBLEMS, "forbidden", "not-found"),
    operation_id="grant_role",
    summary="Grant a user a role (operators)",
)
async def put_role(
    shop: ShopHere, caller: Operator, user_id: str, wanted: RoleRequest, key: IdempotencyKey = None
) -> ReplyResponse:
    """Make a user a shopper, a seller or an operator, from that user's next session on."""

    async def grant(connection: Connection) -> Answer:
        found = parse_id(user_id)
        if found is None or not await grant_role(connection, found, wanted.role):
            return refused(problem("not-found", "No such user"))
        return Answer(200, {"user_id": found.hex(), "role": wanted.role})

    return answered(await shop.keys.run_once(claim_on(shop, caller, key, "grant_role", user_id, wanted), grant))


def parse_id(text: str) -> bytes | None:
    """Return the 16 bytes of a public id, or None when it is none of ours."""
    if len(text) != 2 * ID_BYTES or not text.isascii() or not text.isalnum():
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None
