"""Locking a process in before it loads a student's code: limits, another user, a file system and a network of its own.

Only the standard library, since it runs in the student's process. Every step is one-way: nothing that runs afterwards
can take it back. Linux has all of it; elsewhere the limits remain. `isolate` says what was had.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["isolate", "namespaces_work", "readable_by_all"]

#: Not everywhere, and the command line must start without; imported now, since nobody may not be able to read it later.
_resource: Any = importlib.import_module("resource") if os.name == "posix" else None

_NEWNS, _NEWUTS, _NEWIPC, _NEWUSER, _NEWPID, _NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 2, 4, 4096, 16384, 1 << 18, 2
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _ATTR_READ_ONLY_NOSUID = 442, -100, 0x8000, 1 | 2
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_NOBODY = 65534
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/dev/null", "/dev/zero", "/dev/urandom")


def isolate(job: dict[str, Any]) -> list[str]:
    """Lock this process in; gives what was had: 'files', 'network', 'processes', 'user', 'limits'.

    `job` says where the submission lies (`folder`), where a new root may be mounted (`root`), which folders must be readable
    in it (`readable`) and which must not (`hidden`), and `seconds`, `memory` (bytes), `files` (open at once), `disk` (bytes),
    `processes`. Returns in the process that is to run the student's code, with its working directory in the submission.

    A superuser becomes nobody, also where nobody can't read Python's files: then only what is loaded can be imported.
    """
    folder, had, private = job["folder"], [], False
    if sys.platform == "linux":
        _die_with_parent()
    root = os.getuid() == 0
    if namespaces_work():
        _namespaces(root)
        had += ["network", "processes"]
        with contextlib.suppress(OSError, KeyError):
            folder = _new_root(job)
            had.append("files")
        _become_init()
        private = not root
    os.chdir(folder)
    if root and _drop_to_nobody(None if "files" in had else folder):
        had.append("user")
    if sys.platform == "linux":
        _no_more_rights(private)
    _limits(job)
    return [*had, "limits"]


@functools.cache
def namespaces_work() -> bool:
    """Whether this process may have namespaces of its own: tried in a child, since a failure half-way can't be undone."""
    if sys.platform != "linux":
        return False
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    try:
        _namespaces(os.getuid() == 0)
        _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    except BaseException:  # a child must not go on in its parent's code
        os._exit(1)
    os._exit(0)


def readable_by_all(path: str) -> bool:
    """Whether every user can enter the folder and read in it."""
    there = Path(path).resolve()
    try:
        return bool(there.stat().st_mode & 0o004) and all(parent.stat().st_mode & 0o001 for parent in there.parents)
    except OSError:
        return False


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _namespaces(root: bool) -> None:
    """Mounts, processes, network and messages of one's own; for a plain user by way of a user namespace."""
    user, group = os.getuid(), os.getgid()
    flags = _NEWNS | _NEWPID | _NEWNET | _NEWIPC | _NEWUTS | (0 if root else _NEWUSER)
    _check(_libc().unshare(flags), "unshare")
    if not root:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _check(
        _libc().mount(source.encode(), target.encode(), kind.encode() or None, flags, data.encode() or None), f"mount {target}"
    )


def _new_root(job: dict[str, Any]) -> str:
    """A root that holds Python, read-only, and a copy of the submission in memory; nothing else is in reach."""
    root = job["root"]
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={job['disk']},mode=755")
    bound: list[str] = []
    for path in sorted([*_SYSTEM, *job["readable"]], key=len):
        if Path(path).exists() and not any(Path(path).is_relative_to(b) for b in bound):
            _bind(path, root)
            bound.append(path)
    for path in job["hidden"]:
        inside = any(Path(path).is_relative_to(b) for b in bound)
        if inside and Path(root + path).is_dir() and not any(Path(r).is_relative_to(path) for r in job["readable"]):
            _mount("tmpfs", root + path, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=4k,mode=755")
    shutil.copytree(job["folder"], root + "/submission")
    Path(root, "tmp").mkdir(exist_ok=True)
    for name in ("submission", "tmp"):
        Path(root, name).chmod(0o777)
    os.chdir(root)
    if _libc().syscall(_PIVOT_ROOT[os.uname().machine], b".", b".") == 0:
        _check(_libc().umount2(b".", _MNT_DETACH), "umount")
        os.chdir("/")
    else:
        os.chroot(".")
    return "/submission"


def _bind(path: str, root: str) -> None:
    """The same file or folder in the new root, for reading only; a link as the same link."""
    source, target = Path(path), Path(root + path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink() and path in _SYSTEM:
        target.symlink_to(source.readlink())
        return
    if source.is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    _mount(path, str(target), "", _MS_BIND | _MS_REC)
    if path.startswith("/dev/"):
        return
    read_only = (ctypes.c_uint64 * 4)(_ATTR_READ_ONLY_NOSUID, 0, 0, 0)
    arguments = (_AT_FDCWD, str(target).encode(), _AT_RECURSIVE, ctypes.byref(read_only), ctypes.sizeof(read_only))
    _check(_libc().syscall(_MOUNT_SETATTR, *arguments), f"read-only {target}")


def _become_init() -> None:
    """Go on in a child of the new namespace's first process: when that one ends, the kernel ends all that it started."""
    first = os.fork()
    if first:
        _leave_as(first)
    _die_with_parent()
    second = os.fork()
    if second:
        _leave_as(second)


def _die_with_parent() -> None:
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _leave_as(child: int) -> NoReturn:
    """Wait for the child and end as it ended; 128 and the signal's number where one ended it."""
    with contextlib.suppress(OSError):  # only the child shall hold the connection
        os.closerange(0, 1024)
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _drop_to_nobody(folder: str | None) -> bool:
    """Become nobody, whose `folder` then is: the check's own copy is the check's own. False where there is no such user."""
    try:
        for path in (Path(folder), *Path(folder).rglob("*")) if folder else ():
            os.chown(path, _NOBODY, _NOBODY)
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except OSError:
        return False
    return True


def _no_more_rights(private: bool) -> None:
    """No program gives this process rights that it has not; in a user namespace also give up the ones that came with it."""
    _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _die_with_parent()  # again: a change of user clears it
    if private:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        nothing = (ctypes.c_uint32 * 6)()
        _check(_libc().capset(ctypes.byref(header), ctypes.byref(nothing)), "capset")


def _limits(job: dict[str, Any]) -> None:
    """Time, memory, open files, file sizes; no further processes or threads."""
    used = _resource.getrusage(_resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime + job["seconds"]) + 1
    wanted = {
        "RLIMIT_CPU": (seconds, seconds + 1),
        "RLIMIT_AS": (job["memory"],) * 2,
        "RLIMIT_NOFILE": (job["files"],) * 2,
        "RLIMIT_FSIZE": (job["disk"],) * 2,
        "RLIMIT_CORE": (0, 0),
        "RLIMIT_NPROC": (job["processes"],) * 2,
    }
    for name, limit in wanted.items():
        with contextlib.suppress(OSError, ValueError, AttributeError):  # not every system has every one
            _resource.setrlimit(getattr(_resource, name), limit)
