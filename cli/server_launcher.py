"""Turns itself into a server process: another user when asked, bound to its parent's life, then `exec`.

Runs as a program of its own with the standard library only, so that no code has to run between `fork` and
`exec` in a process with threads. Owns nothing afterwards: the server has its process id.

As root it can lend the server one capability, to search and read what is below a directory closed to
others (a checkout in root's home, say), instead of opening that directory to the world. It does so only when
the paths named by `--reach` can't be reached otherwise.
"""

import argparse
import ctypes
import errno
import os
import sys
from collections.abc import Sequence

EXIT_UNREACHABLE = 77
"""Exit code when the user can't reach the server's files and no capability could be lent."""

_PR_SET_PDEATHSIG = 1
_PR_SET_SECUREBITS = 28
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CAP_DAC_OVERRIDE = 1
_CAP_DAC_READ_SEARCH = 2
_CAPABILITY_VERSION_3 = 0x20080522


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilitySets(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def main(arguments: Sequence[str]) -> None:
    """Become the server; returns only by raising `SystemExit`."""
    parser = argparse.ArgumentParser(description="Start a server bound to this process's parent.")
    parser.add_argument("--parent", type=int, required=True, help="end at once unless this is the parent's pid")
    parser.add_argument("--death-signal", type=int, required=True, help="sent to the server when the parent dies")
    parser.add_argument("--uid", type=int)
    parser.add_argument("--gid", type=int)
    parser.add_argument("--reach", action="append", default=[], help="a path the user has to be able to reach")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(arguments)
    if options.uid is not None:
        _become_able_user(options.uid, options.gid, options.reach)
    if sys.platform == "linux":
        # After the change of user, which clears it.
        _libc_call("prctl", _PR_SET_PDEATHSIG, options.death_signal, 0, 0, 0)
    if os.getppid() != options.parent:
        sys.exit(0)
    os.execv(options.command[0], options.command)


def _become_able_user(uid: int, gid: int, paths: Sequence[str]) -> None:
    """Become the user, with the least capability that lets it reach `paths`."""
    for capability in (None, _CAP_DAC_READ_SEARCH, _CAP_DAC_OVERRIDE):
        if _reaches(uid, gid, capability, paths):
            _become(uid, gid, capability)
            return
    print(f"user {uid} can't reach {_first_closed(uid, gid, paths)}", file=sys.stderr)
    sys.exit(EXIT_UNREACHABLE)


def _reaches(uid: int, gid: int, capability: int | None, paths: Sequence[str]) -> bool:
    """Try it in a child, since a change of user can't be taken back."""
    child = os.fork()
    if child == 0:
        try:
            _become(uid, gid, capability)
            os._exit(0 if all(_accessible(path) for path in paths) else 1)
        except OSError:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


def _accessible(path: str) -> bool:
    wanted = os.R_OK | os.X_OK if os.path.isdir(path) or "/bin/" in path else os.R_OK
    return os.access(path, wanted)


def _first_closed(uid: int, gid: int, paths: Sequence[str]) -> str:
    return next((path for path in paths if not _reaches(uid, gid, None, [path])), "its files")


def _become(uid: int, gid: int, capability: int | None) -> None:
    if capability is not None:
        # Without it access(2) ignores capabilities of users other than root, and PostgreSQL calls access.
        _libc_call("prctl", _PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([gid])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if capability is not None:
        _keep_only(capability)
        _libc_call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def _keep_only(capability: int) -> None:
    bit = 1 << capability
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    sets = (_CapabilitySets * 2)(_CapabilitySets(bit, bit, bit), _CapabilitySets(0, 0, 0))
    _libc_call("capset", ctypes.byref(header), ctypes.byref(sets))


def _libc_call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        code = ctypes.get_errno() or errno.EPERM
        raise OSError(code, os.strerror(code))


if __name__ == "__main__":
    main(sys.argv[1:])
