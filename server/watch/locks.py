"""What is being written, without trying a lock: that could stop a run from beginning."""

import os
from pathlib import Path

TABLE = Path("/proc/locks")  # of Linux; elsewhere, and of other containers, nothing is known
Lock = tuple[int, int, int]  # major and minor number of the device, inode


def held_locks() -> frozenset[Lock]:
    """The files on which some process of this machine holds a lock, as the kernel tells."""
    try:
        lines = TABLE.read_text().splitlines()
    except OSError:
        return frozenset()
    found = set()
    for line in lines:  # 1: FLOCK  ADVISORY  WRITE 9235 fe:00:2778052 0 EOF
        parts = line.split()
        if len(parts) < 6 or parts[1] != "FLOCK" or parts[3] != "WRITE":
            continue
        major, minor, inode = parts[5].split(":")
        found.add((int(major, 16), int(minor, 16), int(inode)))
    return frozenset(found)


def lock_of(about: os.stat_result) -> Lock:
    """What `held_locks` calls a file."""
    return os.major(about.st_dev), os.minor(about.st_dev), about.st_ino
