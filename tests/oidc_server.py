"""A small OpenID provider that signs real tokens, for the site's sign-in: like the Hub's, but local.

Discovery, authorize (a page with a button an account), token (client secret, PKCE, signed id_token), keys
and userinfo. `OidcServer.forge` makes it sign with a key that its own key set does not hold.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import secrets
import socket
import threading
import time
import urllib.parse
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route


class OidcServer:
    """Serves in a thread of its own on a free port of this machine."""

    def __init__(self, accounts: tuple[str, ...] = ("ada", "ben")) -> None:
        self.accounts = accounts
        self.client_id, self.client_secret = "client-" + secrets.token_hex(4), secrets.token_hex(16)
        self.forge = False
        self._key = RSAKey.generate_key(2048, {"kid": "own", "use": "sig", "alg": "RS256"})
        self._foreign = RSAKey.generate_key(2048, {"kid": "own", "use": "sig", "alg": "RS256"})
        self._codes: dict[str, dict[str, str]] = {}
        self._tokens: dict[str, str] = {}
        #: Access tokens that were handed out, with the scope that was asked for.
        self.issued: dict[str, str] = {}
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def environment(self, site_host: str) -> dict[str, str]:
        """What a Space would give a site at `site_host` to sign its visitors in."""
        return {
            "OAUTH_CLIENT_ID": self.client_id,
            "OAUTH_CLIENT_SECRET": self.client_secret,
            "OPENID_PROVIDER_URL": self.url,
            "SPACE_HOST": site_host,
        }

    def start(self) -> OidcServer:
        """Serve until `stop`."""
        import uvicorn

        app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/oauth/authorize", self._authorize),
                Route("/oauth/token", self._token, methods=["POST"]),
                Route("/oauth/jwks", self._jwks),
                Route("/oauth/userinfo", self._userinfo),
            ]
        )
        config = uvicorn.Config(app, host="127.0.0.1", port=self.port, log_level="warning")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)
        return self

    def stop(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join(10)

    async def _discovery(self, _: Request) -> Response:
        return JSONResponse(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/oauth/authorize",
                "token_endpoint": f"{self.url}/oauth/token",
                "userinfo_endpoint": f"{self.url}/oauth/userinfo",
                "jwks_uri": f"{self.url}/oauth/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "code_challenge_methods_supported": ["S256"],
                "scopes_supported": ["openid", "profile", "inference-api"],
            }
        )

    async def _jwks(self, _: Request) -> Response:
        return JSONResponse({"keys": [self._key.as_dict(private=False)]})

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        if asked.get("client_id") != self.client_id or asked.get("response_type") != "code":
            return Response("unknown client", status_code=400)
        back = asked["redirect_uri"]
        if "as" in asked:
            code = secrets.token_urlsafe(16)
            self._codes[code] = asked
            return RedirectResponse(_with(back, code=code, state=asked["state"]))
        links = "".join(
            f'<p><a href="{html.escape(str(request.url))}&amp;as={urllib.parse.quote(name)}">'
            f"Continue as {html.escape(name)}</a></p>"
            for name in self.accounts
        )
        refuse = html.escape(_with(back, error="access_denied", state=asked["state"]))
        return HTMLResponse(f'<h1>Sign in</h1>{links}<p><a href="{refuse}">Refuse</a></p>')

    async def _token(self, request: Request) -> Response:
        form = await request.form()
        said = request.headers.get("authorization", "")
        given = base64.b64decode(said.removeprefix("Basic ")).decode() if said.startswith("Basic ") else ""
        if given != f"{self.client_id}:{self.client_secret}":
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        asked = self._codes.pop(str(form.get("code")), None)
        digest = hashlib.sha256(str(form.get("code_verifier", "")).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or asked["redirect_uri"] != form.get("redirect_uri")
            or asked.get("code_challenge") != challenge
        ):
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": self.client_id,
            "iat": now,
            "exp": now + 3600,
            "nonce": asked.get("nonce"),
            **self._claims(asked["as"]),
        }
        key = self._foreign if self.forge else self._key
        access = "hf_oauth_" + secrets.token_urlsafe(16)
        self._tokens[access] = asked["as"]
        self.issued[access] = asked.get("scope", "")
        return JSONResponse(
            {
                "access_token": access,
                "token_type": "bearer",
                "expires_in": 3600,
                "scope": asked.get("scope", ""),
                "id_token": jwt.encode({"alg": "RS256", "kid": "own"}, claims, key),
            }
        )

    async def _userinfo(self, request: Request) -> Response:
        name = self._tokens.get(request.headers.get("authorization", "").removeprefix("Bearer "))
        if name is None:
            return JSONResponse({"error": "invalid_token"}, status_code=401)
        return JSONResponse(self._claims(name))

    @staticmethod
    def _claims(name: str) -> dict[str, Any]:
        return {
            "sub": hashlib.sha256(name.encode()).hexdigest()[:24],
            "name": name.title(),
            "preferred_username": name,
            "profile": f"https://hub.example/{name}",
        }


def _with(address: str, **parameters: str) -> str:
    return f"{address}?{urllib.parse.urlencode(parameters)}"


if __name__ == "__main__":
    server = OidcServer()
    print(json.dumps({"url": server.url, "id": server.client_id, "secret": server.client_secret}), flush=True)
    server.start()
    threading.Event().wait()
