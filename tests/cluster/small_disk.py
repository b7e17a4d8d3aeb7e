"""A disk of a few hundred megabytes, in memory, which a test can fill to the last byte."""

import contextlib
import errno
import subprocess
from collections.abc import Iterator
from pathlib import Path

CHUNK_BYTES = 1 << 20


class SmallDisk:
    """A file system of its own at a directory; only root can make one."""

    def __init__(self, directory: Path) -> None:
        self._ballast = directory / "ballast"

    def fill(self) -> None:
        """Leave no byte free."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for chunk in (bytes(CHUNK_BYTES), bytes(1)):
                try:
                    while True:
                        ballast.write(chunk)
                except OSError as fault:
                    if fault.errno != errno.ENOSPC:
                        raise

    def empty(self) -> None:
        """Give back what `fill` took."""
        self._ballast.unlink()


@contextlib.contextmanager
def small_disk(directory: Path, megabytes: int) -> Iterator[SmallDisk | None]:
    """Mount a disk at a directory for as long as the block lasts; None for who may not."""
    directory.mkdir(parents=True)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "tmpfs", str(directory)]
    try:
        subprocess.run(mounting, check=True, timeout=10)
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        yield SmallDisk(directory)
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True, timeout=10)
