"""Certificates for tests, made on the spot."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trustme

from node.net.tls import TlsOptions

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@dataclass
class Authority:
    """A hospital's certificate authority, which writes PEM files into a folder."""

    folder: Path
    name: str = "hospital"
    key_type: trustme.KeyType = trustme.KeyType.ECDSA
    authority: trustme.CA = field(init=False)

    def __post_init__(self) -> None:
        self.authority = trustme.CA(organization_name=self.name, key_type=self.key_type)
        self.authority.cert_pem.write_to_path(self.path)

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.pem"

    def issue(
        self,
        name: str,
        *,
        common_name: str | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        required: bool = True,
    ) -> TlsOptions:
        """Write certificate and key of a party that trusts this authority."""
        made = self.authority.issue_cert(
            f"{name}.example.org",
            common_name=common_name or name,
            not_before=not_before,
            not_after=not_after,
            key_type=self.key_type,
        )
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        key.write_bytes(made.private_key_pem.bytes())
        key.chmod(0o600)
        return TlsOptions(
            certificate=certificate,
            key=key,
            authorities=self.path,
            client_certificate_required=required,
        )

    def issue_expired(self, name: str) -> TlsOptions:
        return self.issue(name, not_before=NOW - 9 * DAY, not_after=NOW - DAY)
