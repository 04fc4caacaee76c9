"""Whether a folder is on a network file system."""

from __future__ import annotations

from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "glusterfs", "fuse.sshfs", "beegfs"}


def is_on_network(path: Path) -> bool:
    """Return whether `path` is on a network file system, as far as the system tells: Linux, and UNC names on Windows.

    Examples
    --------
    >>> is_on_network(Path("/"))
    False
    """
    place = path.resolve()
    if place.drive.startswith("\\\\"):
        return True
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    kinds = {}
    for line in lines:
        before, _, after = line.partition(" - ")
        kinds[Path(before.split()[4].replace("\\040", " "))] = after.split()[0]
    mounted = max((point for point in kinds if place.is_relative_to(point)), key=lambda point: len(point.parts))
    return kinds[mounted] in NETWORK
