"""A storage SCP as pynetdicom's documentation writes it: `stock_receiver PORT FOLDER LONGEST_PDU`.

The data set is written as it was encoded, and not synced. Longest PDU: 0 leaves the default.
"""

import sys
from pathlib import Path
from typing import Any

from pydicom.uid import MRImageStorage
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt


def main(port: int, folder: Path, longest_pdu: int) -> None:
    """Receive until the process is ended."""

    def on_store(event: Any) -> int:
        name = f"{event.request.AffectedSOPInstanceUID}.dcm"
        (folder / name).write_bytes(event.encoded_dataset())
        return 0x0000

    ae = AE(ae_title="STOCK")
    if longest_pdu:
        ae.maximum_pdu_size = longest_pdu
    ae.add_supported_context(MRImageStorage, ALL_TRANSFER_SYNTAXES)
    ae.start_server(("127.0.0.1", port), block=True, evt_handlers=[(evt.EVT_C_STORE, on_store)])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
