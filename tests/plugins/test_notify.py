"""Mail and webhooks."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from email import message_from_string
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from reflow.errors import ConfigError, ReflowError
from reflow.model.notice import Notice, Occasion, occasions
from reflow.notify.mail import Mail
from reflow.notify.webhook import Webhook
from reflow.plugin import Completed, Context, Notifier
from reflow.plugins import registry

NOTICE = Notice(
    occasion=Occasion.FAILED,
    run_id="climate-20250301-a1b2",
    workflow="climate\nBcc: x@example.org",
    run_dir="/scratch/\udcffclimate",
    host="login1",
    user="ada",
    time=1.7e9,
    duration=3725.4,
    reason="1 element of compute failed",
    summary={"compute": {"SUCCESS": 9, "FAILED": 1, "SKIPPED": 0}},
    failures=("compute[3]: ValueError: no data",),
    commands=("reflow retry climate-20250301-a1b2",),
)


class _Runner:
    def __init__(self, returncode: int | None = 0) -> None:
        self.returncode = returncode
        self.argv: Sequence[str] = ()
        self.stdin = ""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> Completed:
        self.argv, self.stdin = argv, stdin or ""
        return Completed(argv=tuple(argv), returncode=self.returncode, stderr="queue full\n" if self.returncode else "")

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody waits here")


# -- notices --


def test_the_text_of_a_notice() -> None:
    assert NOTICE.subject == "reflow: climate Bcc: x@example.org FAILED (climate-20250301-a1b2)"
    assert NOTICE.text().splitlines() == [
        "reflow: climate Bcc: x@example.org FAILED (climate-20250301-a1b2).",
        "",
        "Run directory: /scratch/\udcffclimate",
        "Host:          login1",
        "Duration:      1:02:05",
        "Reason:        1 element of compute failed",
        "",
        "Tasks:",
        "  compute: 9 SUCCESS, 1 FAILED",
        "",
        "Failures:",
        "  compute[3]: ValueError: no data",
        "",
        "Next:",
        "  reflow retry climate-20250301-a1b2",
    ]


@pytest.mark.parametrize(
    ("occasion", "words"),
    [(Occasion.BEGIN, "has begun"), (Occasion.SUCCESS, "succeeded"), (Occasion.CANCELLED, "was cancelled")],
)
def test_a_short_notice(occasion: Occasion, words: str) -> None:
    notice = Notice(occasion=occasion, run_id="r-1", workflow="w", run_dir="/d")
    assert notice.text() == f"reflow: w {words} (r-1).\n\nRun directory: /d\n"


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("", set()),
        ("NONE", set()),
        ("begin, fail", {Occasion.BEGIN, Occasion.FAILED}),
        (["END"], {Occasion.SUCCESS, Occasion.FAILED, Occasion.CANCELLED}),
        (["all"], set(Occasion)),
    ],
)
def test_occasions(words: str | list[str], meant: set[Occasion]) -> None:
    assert occasions(words) == meant


def test_an_unknown_occasion() -> None:
    with pytest.raises(ConfigError, match="'TIME_LIMIT_80' is no occasion") as caught:
        occasions("END,TIME_LIMIT_80")
    assert "BEGIN" in str(caught.value)


# -- mail --


def _mail(runner: _Runner | None, environ: Mapping[str, str] | None = None, **settings: Any) -> Notifier:
    context = Context(environ=environ or {}, runner=runner)
    return registry().create_notifier("mail", settings, context)


def test_mail_by_sendmail() -> None:
    runner = _Runner()
    _mail(runner, program="/opt/sendmail", to=["ada@example.org", "bob@example.org"], sender="me@x.org").notify(NOTICE)
    assert runner.argv == ["/opt/sendmail", "-t", "-oi"]
    mail = message_from_string(runner.stdin)
    assert mail["To"] == "ada@example.org, bob@example.org"
    assert mail["From"] == "me@x.org"
    assert mail["Subject"] == NOTICE.subject
    assert mail["Bcc"] is None
    body = mail.get_payload(decode=True)
    assert isinstance(body, bytes)
    assert "/scratch/\\udcffclimate" in body.decode()


def test_mail_goes_to_the_user_unless_told_otherwise(tmp_path: Any) -> None:
    program = tmp_path / "sendmail"
    program.write_text("")
    program.chmod(0o755)
    runner = _Runner()
    _mail(runner, {"PATH": str(tmp_path)}).notify(NOTICE)
    assert runner.argv[0] == str(program)
    assert message_from_string(runner.stdin)["To"] == "ada"


@pytest.mark.parametrize(("returncode", "said"), [(75, "exit code 75, queue full"), (None, "no answer in time")])
def test_mail_that_is_not_taken(returncode: int | None, said: str) -> None:
    with pytest.raises(ReflowError, match=said):
        _mail(_Runner(returncode), program="/opt/sendmail").notify(NOTICE)


def test_mail_from_a_host_that_has_none() -> None:
    with pytest.raises(ReflowError, match="cannot be sent from this host"):
        _mail(None, program="/opt/sendmail").notify(NOTICE)


def test_mail_to_nobody() -> None:
    with pytest.raises(ConfigError, match="nobody to send mail to"):
        _mail(_Runner()).notify(Notice(occasion=Occasion.BEGIN, run_id="r", workflow="w", run_dir="/d"))


def test_mail_to_what_is_no_address() -> None:
    with pytest.raises(ConfigError, match="an address that is none"):
        _mail(_Runner(), program="/x", to=["a@b.org\nBcc: c@d.org"]).notify(NOTICE)


class _SmtpServer(threading.Thread):
    """Just enough of a mail server."""

    def __init__(self, refuse: bool = False) -> None:
        super().__init__(daemon=True)
        self.refuse = refuse
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.lines: list[str] = []

    def run(self) -> None:
        connection, _ = self.socket.accept()
        with self.socket, connection, connection.makefile("rw", newline="\r\n") as stream:

            def say(line: str) -> None:
                stream.write(f"{line}\r\n")
                stream.flush()

            say("220 here")
            data = False
            for line in map(str.rstrip, stream):
                self.lines.append(line)
                verb = line[:4].upper()
                if data:
                    data = line != "."
                    if not data:
                        say("250 taken")
                elif verb == "EHLO":
                    say("250-here")
                    say("250 AUTH PLAIN")
                elif verb == "AUTH":
                    say("535 no" if self.refuse else "235 welcome")
                elif verb == "DATA":
                    data = True
                    say("354 go on")
                elif verb == "QUIT":
                    say("221 bye")
                    return
                else:
                    say("250 fine")


def test_mail_by_smtp() -> None:
    server = _SmtpServer()
    server.start()
    settings: dict[str, Any] = {"port": server.port, "to": "ada@example.org", "user": "me", "password": "pass"}
    _mail(None, host="127.0.0.1", **settings).notify(NOTICE)
    server.join(10)
    assert "mail from:<ada@example.org>" in "\n".join(server.lines).lower()
    assert "rcpt to:<ada@example.org>" in "\n".join(server.lines).lower()
    assert any(line.startswith("Subject: reflow:") for line in server.lines)


@pytest.mark.parametrize("security", ["none", "starttls"])
def test_a_mail_server_that_refuses(security: str) -> None:
    server = _SmtpServer(refuse=True)
    server.start()
    settings: dict[str, Any] = {"port": server.port, "user": "me", "password": "open-sesame", "security": security}
    with pytest.raises(ReflowError, match=r"mail server 127\.0\.0\.1:\d+ did not take") as caught:
        _mail(None, host="127.0.0.1", **settings).notify(NOTICE)
    assert "open-sesame" not in str(caught.value)
    server.join(10)


def test_a_mail_server_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ReflowError, match="did not take a mail"):
        _mail(None, host="127.0.0.1", port=port, security="tls").notify(NOTICE)


# -- webhooks --


class _Handler(BaseHTTPRequestHandler):
    status = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, dict(self.headers), json.loads(body)))  # type: ignore[attr-defined]
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("Location", self.path)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[Any]:
    handler = type("Handler", (_Handler,), {"status": getattr(request, "param", 200)})
    with HTTPServer(("127.0.0.1", 0), handler) as made:
        made.seen = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def _webhook(**settings: Any) -> Notifier:
    return registry().create_notifier("webhook", settings, Context())


def test_webhook_json(server: Any) -> None:
    _webhook(url=f"http://127.0.0.1:{server.server_port}/T/s3cret", headers={"X-Key": "k"}).notify(NOTICE)
    ((path, headers, body),) = server.seen
    assert path == "/T/s3cret"
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Key"] == "k"
    assert body["text"] == NOTICE.text()
    assert body["subject"] == NOTICE.subject
    assert body["occasion"] == "failed"
    assert body["summary"] == {"compute": {"SUCCESS": 9, "FAILED": 1, "SKIPPED": 0}}


def test_webhook_text(server: Any) -> None:
    _webhook(url=f"http://127.0.0.1:{server.server_port}/", format="text").notify(NOTICE)
    assert server.seen[0][2] == {"text": NOTICE.text()}


def _unseen(error: BaseException, secret: str) -> None:
    seen: BaseException | None = error
    while seen is not None:
        assert secret not in str(seen)
        assert secret not in repr(getattr(seen, "__dict__", {}))
        seen = seen.__cause__ or seen.__context__


@pytest.mark.parametrize(("server", "status"), [(500, 500), (404, 404), (302, 302)], indirect=["server"])
def test_webhook_that_is_not_taken(server: Any, status: int) -> None:
    with pytest.raises(ReflowError, match=f"HTTP status {status}") as caught:
        _webhook(url=f"http://127.0.0.1:{server.server_port}/T/s3cret").notify(NOTICE)
    _unseen(caught.value, "s3cret")
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://s3cret.invalid/x", "URLError"),
        ("http://127.0.0.1:s3cret/x", "InvalidURL"),
        ("http://a b/s3cret", "did not take"),
        ("http://[s3cret/x", "did not take"),
    ],
)
def test_webhook_that_cannot_be_reached(url: str, said: str) -> None:
    with pytest.raises(ReflowError, match=said) as caught:
        _webhook(url=url).notify(NOTICE)
    _unseen(caught.value, "s3cret")
    assert "[notifications.webhook] url" in str(caught.value)


def test_webhook_whose_answer_never_ends() -> None:
    """A byte now and then keeps a socket's time-out from ever being reached."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def dribble() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not done.wait(0.02):
                    peer.sendall(b"a")

        thread = threading.Thread(target=dribble)
        thread.start()
        try:
            with pytest.raises(ReflowError, match=r"took longer than 0\.2 s") as caught:
                _webhook(url=f"http://127.0.0.1:{listener.getsockname()[1]}/s3cret", timeout=0.2).notify(NOTICE)
        finally:
            done.set()
            thread.join()
    _unseen(caught.value, "s3cret")


def test_webhook_whose_name_is_looked_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: done.wait() and [])
    try:
        with pytest.raises(ReflowError, match="took longer"):
            _webhook(url="http://s3cret.invalid/", timeout=0.1).notify(NOTICE)
        with pytest.raises(ReflowError, match="took longer"):
            _mail(None, host="mail.invalid", to="me@example.org", timeout=0.1).notify(NOTICE)
    finally:
        done.set()


@pytest.mark.parametrize(("url", "said"), [("", "no address"), ("file:///s3cret", "no http or https address")])
def test_webhook_without_an_address(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        _webhook(url=url)
    _unseen(caught.value, "s3cret")


def test_built_in_notifiers_are_notifiers() -> None:
    assert issubclass(Mail, Notifier)
    assert issubclass(Webhook, Notifier)
