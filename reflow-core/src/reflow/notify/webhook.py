"""JSON to a URL. The URL is a secret: it is in no message, and in no exception that leaves this module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from ..errors import ConfigError, ReflowError
from ..model.notice import Notice
from ..model.task import JSON
from ..plugin import Context
from .bounded import within

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

_WHERE = "[notifications.webhook] url"


class Webhook:
    """Sends a notice by HTTP POST.

    Parameters
    ----------
    settings : mapping
        ``[notifications.webhook]``: url, format, headers, timeout.

    Raises
    ------
    ConfigError
        Where there is no http or https URL.
    """

    def __init__(self, settings: Mapping[str, JSON]) -> None:
        self._url: str = settings.get("url") or ""
        self._format: str = settings.get("format") or "json"
        self._headers: dict[str, str] = dict(settings.get("headers") or {})
        self._timeout: float = settings.get("timeout") or 30.0
        if not self._url:
            raise ConfigError("the webhook has no address", hint=f"Set {_WHERE}, or REFLOW_NOTIFICATIONS_WEBHOOK_URL.")
        if not self._url.lower().startswith(("https://", "http://")):
            raise ConfigError(f"{_WHERE} is no http or https address")

    @classmethod
    def create(cls, settings: Mapping[str, JSON], context: Context) -> Webhook:
        """Make one from its configuration."""
        return cls(settings)

    def notify(self, message: Notice) -> None:
        """Send one message.

        Raises
        ------
        ReflowError
            Where the address cannot be reached or does not take it (a redirection is not followed).
        """
        body = self._body(message)
        fault = within(self._timeout, lambda: self._post(body))
        # Raised out here: an exception raised while another is handled holds on to that one, and to its URL.
        if fault:
            raise ReflowError(f"the webhook did not take a message: {fault}", hint=f"Its address is {_WHERE}.")

    def _body(self, message: Notice) -> bytes:
        import json

        body = {"text": message.text()}
        if self._format == "json":
            body |= {**msgspec.to_builtins(message), "subject": message.subject}
        # The standard library's encoder: it escapes lone surrogates, as odd file names have them.
        return json.dumps(body).encode()

    def _post(self, body: bytes) -> str:
        from urllib.error import HTTPError
        from urllib.request import Request

        headers = {"Content-Type": "application/json", "User-Agent": "reflow", **self._headers}
        try:
            request = Request(self._url, data=body, headers=headers, method="POST")
            with _opener().open(request, timeout=self._timeout):
                return ""
        except HTTPError as error:
            error.close()
            return f"HTTP status {error.code}"
        except OSError as error:
            return self._hide(f"{type(error).__name__}: {error}")
        except Exception as error:  # some quote the address, or a part of it
            return type(error).__name__

    def _hide(self, text: str) -> str:
        from urllib.parse import urlsplit

        parts = urlsplit(self._url)
        for secret in (self._url, parts.netloc, parts.hostname or "", parts.path, parts.query):
            if len(secret) > 1:
                text = text.replace(secret, "...")
        return text


def _opener() -> OpenerDirector:
    from urllib.request import HTTPRedirectHandler, build_opener

    class Stay(HTTPRedirectHandler):
        """A redirected POST would arrive as a GET without its body, or elsewhere with the secret."""

        def redirect_request(self, *_: object) -> None:
            return None

    return build_opener(Stay)
