"""DICOM over TLS after the BCP 195 profile, with certificates that may change while it runs.

Profile: PS3.15 B.12 (BCP 195: RFC 8996 and RFC 9325): TLS 1.3 and 1.2, nothing older.
"""

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, get_args

from node.domain.errors import ConfigurationInvalid

logger: Final = logging.getLogger(__name__)

CIPHERS_1_2: Final = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""The four suites of RFC 9325 4.2, and those of PS3.15 B.13; TLS 1.3 has only good ones."""

RefusedHandshake = Literal["no-certificate", "untrusted", "expired", "version", "timeout", "other"]
REFUSED_HANDSHAKES: Final[tuple[RefusedHandshake, ...]] = get_args(RefusedHandshake)

_EXPIRED: Final = frozenset({9, 10})
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""

_NO_COMMON_VERSION: Final = frozenset(
    {
        "UNSUPPORTED_PROTOCOL",
        "VERSION_TOO_LOW",
        "INAPPROPRIATE_FALLBACK",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "NO_SHARED_CIPHER",
    }
)

LONGEST_SUBJECT: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """PEM files. certificate: with the intermediate ones behind it; key: without passphrase.

    authorities: whose certificates are trusted. Callers without a certificate are let in only
    when none is required; one that is shown must be good all the same.
    """

    certificate: Path
    key: Path
    authorities: Path | None = None
    client_certificate_required: bool = True


class TlsRefused(Exception):
    """A handshake that came to nothing. detail: OpenSSL's word for it, nothing of the peer's."""

    def __init__(self, kind: RefusedHandshake, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind: Final = kind
        self.detail: Final = detail


class ServerTls:
    """The accepting side: a context that is made anew when its files change.

    Files are looked at before each handshake. Changed ones that cannot be used, half-written
    ones for instance, leave the last good ones in force; `fault` then says so.
    Raises ConfigurationInvalid when there are no good ones to begin with.
    """

    def __init__(self, options: TlsOptions) -> None:
        self._options: Final = options
        self._lock: Final = threading.Lock()
        self._state = _state_of(options)
        self._context = server_context(options)
        self._fault: str | None = None

    @property
    def fault(self) -> str | None:
        """Why the files as they lie there now are not used; None when they are."""
        return self._fault

    def context(self) -> ssl.SSLContext:
        """Return the context of the newest good files."""
        state = _state_of(self._options)
        with self._lock:
            if state != self._state:
                self._state = state
                self._read_anew()
            return self._context

    def shake_hands(self, connection: socket.socket, within_s: float) -> ssl.SSLSocket:
        """Make a TLS connection of an accepted one, which it closes where that fails.

        within_s: for all of it, however slowly bytes come. The result blocks without a limit.
        Raises TlsRefused.
        """
        return _shake_hands(self.context(), connection, within_s, server_side=True)

    def _read_anew(self) -> None:
        try:
            self._context = server_context(self._options)
        except ConfigurationInvalid as error:
            if self._fault != error.what:
                logger.warning("new TLS files are not used", extra={"reason": error.what})
            self._fault = error.what
            return
        self._fault = None
        logger.info("TLS files were read anew")


class ClientTls:
    """The calling side: shows a certificate, and wants one of the authorities.

    server_name: that the peer's certificate must name. Devices are seldom certified by name, so
    without one every peer that an authority vouches for is good.
    Raises ConfigurationInvalid when the files cannot be used.
    """

    def __init__(self, options: TlsOptions, server_name: str | None = None) -> None:
        self.context: Final = _context(ssl.PROTOCOL_TLS_CLIENT, options)
        self.context.check_hostname = server_name is not None
        self._server_name: Final = server_name

    def shake_hands(self, connection: socket.socket, within_s: float) -> ssl.SSLSocket:
        """Make a TLS connection of a connected one, which it closes where that fails.

        Raises TlsRefused. In TLS 1.3 a server that refuses us says so at the first read only.
        """
        return _shake_hands(self.context, connection, within_s, server_name=self._server_name)


def server_context(options: TlsOptions) -> ssl.SSLContext:
    """Return a context for accepting connections. Raises ConfigurationInvalid naming the file."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, options)
    if options.client_certificate_required:
        if options.authorities is None:
            raise ConfigurationInvalid("TLS: no authorities are named for client certificates")
        context.verify_mode = ssl.CERT_REQUIRED
    elif options.authorities is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
    # A session that is resumed would get past a certificate that is no longer trusted.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.num_tickets = 0
    return context


def certificate_end(options: TlsOptions) -> datetime:
    """Return when the certificate ends, after a handshake in memory that proves it usable.

    Raises ConfigurationInvalid when the files cannot be used, or peers would not take them.
    """
    server = server_context(options)
    server.verify_mode = ssl.CERT_NONE
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    with _telling(options.certificate):
        client.load_verify_locations(options.certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server)
    with _telling(options.certificate):
        for side in (theirs, ours) * 3:
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    shown: dict[str, Any] = theirs.getpeercert() or {}
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(shown["notAfter"]), UTC)


def subject_of(connection: ssl.SSLSocket) -> str:
    """Return the subject of the peer's certificate as `commonName=MR1, ...`; "" without one.

    It comes from outside: not longer than LONGEST_SUBJECT, and printable.
    """
    subject: Any = (connection.getpeercert() or {}).get("subject", ())
    text = ", ".join(f"{name}={value}" for part in subject for name, value in part)
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:LONGEST_SUBJECT]


def _context(protocol: int, options: TlsOptions) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.check_hostname = False
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(CIPHERS_1_2))
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    with _telling(options.certificate, options.key):
        context.load_cert_chain(options.certificate, options.key, _no_passphrase)
    if options.authorities is not None:
        with _telling(options.authorities):
            context.load_verify_locations(options.authorities)
    return context


def _no_passphrase() -> str:
    """Answer OpenSSL, which would otherwise ask at the terminal."""
    raise ConfigurationInvalid("TLS: the key has a passphrase; give one without")


@contextlib.contextmanager
def _telling(*paths: Path) -> Iterator[None]:
    """Turn what OpenSSL and the system say about files into one named error."""
    names = " and ".join(map(str, paths))
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise ConfigurationInvalid(f"TLS: {names}: {error.verify_message}") from error
    except ssl.SSLError as error:
        word = (error.reason or "no certificate or key in it").lower().replace("_", " ")
        raise ConfigurationInvalid(f"TLS: {names} cannot be used: {word}") from error
    except OSError as error:
        raise ConfigurationInvalid(f"TLS: {names} cannot be read: {error.strerror}") from error


def _state_of(options: TlsOptions) -> tuple[object, ...]:
    """Return what tells a changed file: replaced, rewritten, grown or gone."""
    return tuple(
        _stamp(path) for path in (options.certificate, options.key, options.authorities) if path
    )


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _shake_hands(
    context: ssl.SSLContext,
    connection: socket.socket,
    within_s: float,
    *,
    server_side: bool = False,
    server_name: str | None = None,
) -> ssl.SSLSocket:
    try:
        # OpenSSL is given one deadline for the handshake, not one for each read.
        connection.settimeout(within_s)
        secured = context.wrap_socket(
            connection,
            server_side=server_side,
            server_hostname=server_name,
            do_handshake_on_connect=False,
        )
    except (OSError, ValueError) as error:
        connection.close()
        raise _refused(error) from error
    try:
        secured.do_handshake()
        secured.settimeout(None)
    except (OSError, ValueError) as error:
        secured.close()
        raise _refused(error) from error
    return secured


def _refused(error: Exception) -> TlsRefused:
    if isinstance(error, TimeoutError):
        return TlsRefused("timeout")
    if isinstance(error, ssl.SSLCertVerificationError):
        kind: RefusedHandshake = "expired" if error.verify_code in _EXPIRED else "untrusted"
        return TlsRefused(kind, error.verify_message)
    if not isinstance(error, ssl.SSLError):
        return TlsRefused("other", type(error).__name__)
    reason = getattr(error, "reason", None) or type(error).__name__
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return TlsRefused("no-certificate", reason)
    return TlsRefused("version" if reason in _NO_COMMON_VERSION else "other", reason)
