"""Mail, by the machine's sendmail program or by SMTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..batch.programs import find_program
from ..errors import ConfigError, ReflowError
from ..model.notice import Notice
from ..model.task import JSON
from ..plugin import Context
from .bounded import within

if TYPE_CHECKING:
    from email.message import EmailMessage

#: where sendmail often is, though not on a user's PATH
_PLACES = "/usr/sbin:/usr/lib:/sbin"
_PORTS = {"none": 25, "starttls": 587, "tls": 465}


class Mail:
    """Sends a notice as a mail of plain text.

    Parameters
    ----------
    settings : mapping
        ``[notifications.mail]``: to, sender, program, host, port, security, user, password, timeout.
    context : Context
        Its ``runner`` runs the sendmail program; its ``environ`` tells PATH and the user.
    """

    def __init__(self, settings: Mapping[str, JSON], context: Context) -> None:
        self._context = context
        to = settings.get("to") or ()
        self._to: list[str] = [to] if isinstance(to, str) else list(to)
        self._sender: str | None = settings.get("sender")
        self._program: str | None = settings.get("program")
        self._host: str | None = settings.get("host")
        self._security: str = settings.get("security") or "none"
        self._port: int = settings.get("port") or _PORTS[self._security]
        self._user: str | None = settings.get("user")
        self._password: str | None = settings.get("password")
        self._timeout: float = settings.get("timeout") or 30.0

    @classmethod
    def create(cls, settings: Mapping[str, JSON], context: Context) -> Mail:
        """Make one from its configuration."""
        return cls(settings, context)

    def notify(self, message: Notice) -> None:
        """Send one mail.

        Raises
        ------
        ConfigError
            Where nobody, or no valid address, is named.
        ReflowError
            Where the program or the server did not take it.
        """
        mail = self._compose(message)
        if self._host:
            self._by_smtp(mail, self._host)
        else:
            self._by_program(mail)

    def _compose(self, message: Notice) -> EmailMessage:
        from email.message import EmailMessage
        from email.utils import formatdate

        to = self._to or [user for user in (message.user, self._context.environ.get("USER")) if user][:1]
        if not to:
            raise ConfigError("there is nobody to send mail to", hint="Set [notifications.mail] to.")
        mail = EmailMessage()
        try:
            mail["To"] = ", ".join(to)
            if self._sender or self._host:
                mail["From"] = self._sender or to[0]
        except ValueError as error:
            raise ConfigError(f"[notifications.mail] holds an address that is none: {error}") from None
        mail["Subject"] = _sendable(message.subject)
        mail["Date"] = formatdate(message.time or None)
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(_sendable(message.text()))
        return mail

    def _by_program(self, mail: EmailMessage) -> None:
        path = f"{self._context.environ.get('PATH', '')}:{_PLACES}"
        program = self._program or find_program("sendmail", path)
        if program is None or self._context.runner is None:
            raise ReflowError(
                "mail cannot be sent from this host: it has no sendmail program",
                hint="Set [notifications.mail] program, or host for an SMTP server.",
            )
        # Recipients are read from the message (-t): none can be mistaken for an option.
        done = self._context.runner.run([program, "-t", "-oi"], stdin=mail.as_string(), timeout=self._timeout)
        if done.returncode != 0:
            how = "no answer in time" if done.returncode is None else f"exit code {done.returncode}"
            raise ReflowError(f"{program} did not take a mail: {how}, {done.stderr.strip() or 'no message'}")

    def _by_smtp(self, mail: EmailMessage, host: str) -> None:
        import smtplib
        import ssl

        tls: dict[str, Any] = {"context": ssl.create_default_context()} if self._security != "none" else {}
        kind: Any = smtplib.SMTP_SSL if self._security == "tls" else smtplib.SMTP
        options = tls if self._security == "tls" else {}

        def send() -> str:
            try:
                with kind(host, self._port, timeout=self._timeout, **options) as server:
                    if self._security == "starttls":
                        server.starttls(**tls)
                    if self._user:
                        server.login(self._user, self._password or "")
                    server.send_message(mail)
            except (OSError, smtplib.SMTPException, ValueError) as error:
                return str(error) or type(error).__name__
            return ""

        if fault := within(self._timeout, send):
            raise ReflowError(f"the mail server {host}:{self._port} did not take a mail: {fault}")


def _sendable(text: str) -> str:
    """The text with what UTF-8 cannot hold (lone surrogates, as in odd file names) escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
