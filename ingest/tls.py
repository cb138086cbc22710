"""TLS as every client here speaks it: a context made of PEM files, and what a failed handshake means for a person.

Standard library only; opens connections only in `speaks_tls` and `verdict_on_us`. Any thread. What no waiting mends is a Stop.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final, NamedTuple

from ingest.errors import Stop

# OpenSSL's numbers for why a certificate does not verify (X509_V_ERR_*).
NOT_VALID_YET, EXPIRED = 9, 10
OTHER_NAMES: Final = frozenset({62, 63, 64})  # host name, e-mail, IP address
UNKNOWN_AUTHORITY: Final = frozenset({2, 18, 19, 20, 21, 27})
# What the other side says of the certificate that we showed, or did not show.
ALERT_ON_OURS: Final = re.compile(r"ALERT_.*(CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)")
NO_AGREEMENT: Final = re.compile(r"ALERT_(HANDSHAKE_FAILURE|PROTOCOL_VERSION|INSUFFICIENT_SECURITY)|UNSUPPORTED_PROTOCOL")
# A server judges our certificate in one round trip; one that is content waits for a request, for as long as we do.
JUDGED_WITHIN_S = 1.0
NO_TLS_THERE: Final = frozenset({"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"})


class Side(NamedTuple):
    """One of our clients: its error code, and how its settings are called.

    address: names the server. go_plain, go_tls: what to do where it does not speak TLS, and where it does and we did not.
    """

    code: str
    ca: str
    cert: str
    key: str
    address: str
    go_plain: str
    go_tls: str


def client_context(
    side: Side, ca_file: str | None, cert_file: str | None = None, key_file: str | None = None, password: str | None = None
) -> ssl.SSLContext:
    """What verifies the server and shows our certificate, if there is one. Raises Stop for a file that is no such thing."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        raise Stop(side.code, f"{side.ca} holds no certificate that can be read: name a PEM file of authorities") from error
    if cert_file:
        try:
            # An empty password is refused for a locked key; without one OpenSSL would ask at the terminal, and wait.
            context.load_cert_chain(cert_file, key_file, password or "")
        except OSError as error:
            raise Stop(side.code, f"{side.cert} and {side.key} {_misfit(error)}") from error
    return context


def stop_for(error: BaseException, side: Side, where: object, *, has_begun: bool = False) -> Stop | None:
    """What a person must mend when this error, or one that it came from, is one of TLS; None for what may pass by itself.

    has_begun: the handshake was done, so that bytes which are no TLS are damage on the way.

    >>> side = Side("store.tls", "CA", "CERT", "KEY", "URLS", "write http:// in URLS", "write https:// in URLS")
    >>> error = ssl.SSLError(1, "wrong version number")
    >>> error.reason = "WRONG_VERSION_NUMBER"
    >>> stop_for(error, side, "https://db").text
    'https://db does not speak TLS: write http:// in URLS'
    >>> stop_for(ConnectionResetError(), side, "https://db") is None
    True
    """
    texts = (_sentence(seen, side, where, has_begun) for seen in _chain(error) if isinstance(seen, ssl.SSLError))
    text = next((text for text in texts if text), None)
    return Stop(side.code, text) if text else None


def speaks_tls(host: str, port: int, timeout_s: float) -> bool:
    """Whether a handshake gets through there, whatever the certificate. Blocks for at most about timeout_s."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection((host, port), timeout_s) as plain, context.wrap_socket(plain):
            return True
    except OSError:
        return False


def verdict_on_us(context: ssl.SSLContext, host: str, port: int, timeout_s: float) -> OSError | None:
    """What a server says of our certificate, None if nothing. Blocks for at most about timeout_s and JUDGED_WITHIN_S.

    With TLS 1.3 it says so after the handshake and hangs up, so that a request on its way may fail before the reason is read.
    """
    try:
        with (
            socket.create_connection((host, port), timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            secure.settimeout(JUDGED_WITHIN_S)
            secure.recv(1)
    except TimeoutError:
        return None
    except OSError as error:
        error.__context__ = None  # what the caller is handling is no part of the verdict
        return error
    return None


def _sentence(error: ssl.SSLError, side: Side, where: object, has_begun: bool) -> str | None:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of {where} {_fault(error, side)}"
    reason = getattr(error, "reason", None) or ""
    if reason in NO_TLS_THERE and not has_begun:
        return f"{where} does not speak TLS: {side.go_plain}"
    if ALERT_ON_OURS.search(reason):
        return f"{where} does not accept our certificate, or wants one: set {side.cert} and {side.key} to one that it trusts"
    if NO_AGREEMENT.search(reason):
        return f"{where} and this machine agree on no version or cipher of TLS: allow TLS 1.2 or later there"
    return None


def _fault(error: ssl.SSLCertVerificationError, side: Side) -> str:
    code = getattr(error, "verify_code", None)
    if code in OTHER_NAMES:
        return f"is made for other names: use one of those in {side.address}, or have a certificate made for this one"
    if code == EXPIRED:
        return "or of its authority has expired: renew it"
    if code == NOT_VALID_YET:
        return "or of its authority is not valid yet: check the clocks of both machines"
    if code in UNKNOWN_AUTHORITY:
        return f"is not signed by an authority that we know: set {side.ca} to the PEM file of the one that signed it"
    why = getattr(error, "verify_message", "for an unknown reason")
    return f"does not verify ({why}): renew it, or correct {side.ca}"


def _misfit(error: OSError) -> str:
    reason = getattr(error, "reason", None) or ""
    if reason == "KEY_VALUES_MISMATCH":
        return "do not belong together: name a certificate and its own key"
    return "cannot be read as a certificate and its key: name PEM files, the key unlocked or with its password set"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it came from; a client's own exception holds its cause as an argument, or only in its context."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        held = seen.args[0] if seen.args else None
        seen = held if isinstance(held, BaseException) else seen.__cause__ or seen.__context__
