"""Which calls come in at which port of a SuperLink.

Flower's SuperLink takes all calls at one port, and asks nobody who submits an app or registers a
node. Here the port for nodes has the fleet's calls alone, of nodes whose keys the operator has; all
that starts a run or carries it out comes in at a port of the loopback interface, which has no
fleet's calls.
"""

from base64 import b64encode
from collections.abc import Collection

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER
from flwr.supercore.error import ApiErrorCode
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HEALTH = "/health"
FLEET = {
    f"/v1/fleet/{call}"
    for call in (
        "activate-node",
        "deactivate-node",
        "send-node-heartbeat",
        "pull-messages",
        "push-messages",
        "pull-object",
        "push-object",
        "confirm-message-received",
        "get-run",
        "get-fab",
    )
}
INSIDE = ("/v1/control/", "/v1/runtime/")
JOIN = "/v1/fleet/activate-node"
CODE = int(ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED)  # else a node does not tell what is said
KEY = FLEET_HTTP_PUBLIC_KEY_HEADER.lower().encode()
RUNS = "Runs are submitted on the SuperLink's own machine, at its --control-port."
NOT_HERE = "There is no such call at this port."
UNKNOWN = "This node's public key is not in the SuperLink's folder of keys."

Refusal = tuple[int, str]


class Ports:
    """In front of Flower's app: what does not belong to a port is refused before it is read.

    Args:
        control_port: bound to the loopback interface; a call at any other port is a stranger's.
        members: public keys of the nodes that may join.
    """

    def __init__(
        self, app: ASGIApp, control_port: int, members: Collection[EllipticCurvePublicKey]
    ) -> None:
        self._app, self._control_port = app, control_port
        self._members = {b64encode(public_key_to_bytes(member)) for member in members}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        refusal = None if scope["type"] == "lifespan" else self._refuse(scope)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, why = refusal
        headers = {"Connection": "close"}  # a body that was sent is not read
        code = {"code": CODE} if why is UNKNOWN else {}
        await JSONResponse({**code, "detail": why}, status, headers)(scope, receive, send)

    def _refuse(self, scope: Scope) -> Refusal | None:
        path = scope["path"]
        if scope["type"] == "http" and path == HEALTH:
            return None
        if scope["type"] == "http" and (scope.get("server") or ("", 0))[1] == self._control_port:
            return None if path.startswith(INSIDE) else (404, NOT_HERE)
        if scope["type"] != "http" or path not in FLEET:
            return 404, RUNS if path.startswith(INSIDE) else NOT_HERE
        # Flower checks that the caller has the private half, and which node's key it is.
        claimed = [value for name, value in scope["headers"] if name == KEY]
        if len(claimed) != 1 or claimed[0] not in self._members:
            # At a 401 Flower's node ends without a word; this one it tells its owner.
            return 412 if path == JOIN else 401, UNKNOWN
        return None
