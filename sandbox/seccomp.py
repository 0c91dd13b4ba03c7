"""The filter of system calls, assembled here: classic BPF as seccomp(2) takes it.

Written out rather than made with libseccomp, whose Python bindings are not kept up; the program is
an allow-list without branches between rules, so that it can be read, and the tests run it in an
interpreter for both processors. Arguments are compared by their lower 32 bits: each argument judged
here is an ``int`` or a set of low flags for the kernel (clone(2), fcntl(2), ioctl(2), mmap(2),
mprotect(2), prctl(2), prlimit(2), tgkill(2)).

Outcomes: allowed; EPERM; ENOSYS for clone3, whose flags lie in memory that a filter can't read, so
that the C library falls back to clone; the end of the process for a foreign calling convention.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from dataclasses import dataclass
from typing import Final

from fusion.errors import EnvironmentUnfit
from sandbox.syscalls import JUDGED, LINKED, PLAIN, SOCKET

ARCHITECTURES: Final = {"x86_64": 0, "aarch64": 1}
"""Column of :mod:`sandbox.syscalls`, by the name that uname(2) gives."""

AUDIT: Final = (0xC000003E, 0xC00000B7)
"""AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64 (``linux/audit.h``)."""

ALLOW: Final = 0x7FFF0000
REFUSE: Final = 0x00050000 | errno.EPERM
ABSENT: Final = 0x00050000 | errno.ENOSYS
KILL: Final = 0x80000000
"""What a filter returns (``linux/seccomp.h``)."""

# linux/bpf_common.h: load a word, and with a constant, compare, return.
LOAD, AND, EQUAL, ABOVE, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_X32: Final = 0x40000000
_NUMBER_AT: Final = 0
_ARCHITECTURE_AT: Final = 4
_ARGUMENTS_AT: Final = 16  # struct seccomp_data, lower half first on these processors

_THREAD: Final = 0x00010000
_NEW_NAMESPACES: Final = 0x7E020080  # CLONE_NEW*: time, mount, cgroup, uts, ipc, user, pid, net
_WRITE_EXECUTE: Final = 0x6
_EXECUTE: Final = 0x4
_ANY: Final = 0xFFFFFFFF
_SECCOMP: Final = (317, 277)
_WAIT4: Final = (61, 260)
_INTERNET: Final = (2, 10)  # AF_INET, AF_INET6
# Before the worker is handed anything: executing it, its own limits, and this very filter.
_STARTING: Final = ("execve", "prctl", "prlimit64", "tgkill", "mprotect")
_MODE_FILTER: Final = 1
_ALL_THREADS: Final = 1
_NO_NEW_PRIVILEGES: Final = 38


@dataclass(frozen=True, slots=True)
class _Rule:
    """Allowed if argument ``argument`` and ``mask`` is one of ``values``."""

    argument: int
    mask: int
    values: tuple[int, ...]


def _rules(pid: int) -> dict[str, _Rule]:
    """Return what is allowed of the calls in ``JUDGED``, for the process ``pid``."""
    return {
        # A thread of this process, in its namespaces; never a process.
        "clone": _Rule(0, _THREAD | _NEW_NAMESPACES, (_THREAD,)),
        # Duplicate, flags, record locks. Not F_SETOWN and F_SETSIG: they send signals to others.
        "fcntl": _Rule(1, _ANY, (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030)),
        # Size of the window, bytes waiting, close-on-exec, non-blocking. Not TIOCSTI.
        "ioctl": _Rule(1, _ANY, (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)),
        # Memory is writable or executable, never both, nor first one and then the other.
        "mmap": _Rule(2, _WRITE_EXECUTE, (0, 2, 4)),
        "mprotect": _Rule(2, _EXECUTE, (0,)),
        # The name of a thread and of memory. Not PR_SET_PDEATHSIG: it ends with its parent.
        "prctl": _Rule(0, _ANY, (15, 0x53564D41)),
        "prlimit64": _Rule(0, _ANY, (0,)),
        # Only to itself, as abort() does.
        "tgkill": _Rule(0, _ANY, (pid,)),
    }


def architecture() -> int:
    """Return the column of this processor.

    Raises:
        EnvironmentUnfit: There are no numbers for it.
    """
    found = ARCHITECTURES.get(platform.machine())
    if found is None or struct.calcsize("P") != 8:
        msg = f"Workers can't be confined on {platform.machine()}."
        raise EnvironmentUnfit(msg, hint="Use a 64-bit x86-64 or AArch64 system.")
    return found


def program(column: int, pid: int, *, starting: bool = False) -> bytes:
    """Return the filter as an array of ``struct sock_filter``.

    Args:
        column: As :func:`architecture` returns it.
        pid: Process id of the worker as it sees itself.
        starting: For a worker that has yet to be executed: also execve, the calls by which it
            confines itself, and waiting, which bubblewrap's first process does.
    """
    code = [_ins(LOAD, _ARCHITECTURE_AT), _ins(EQUAL, AUDIT[column], 1, 0), _ins(RETURN, KILL)]
    code.append(_ins(LOAD, _NUMBER_AT))
    if column == 0:
        # The x32 convention has the same audit number and other calls.
        code += [_ins(ABOVE, _X32, 0, 1), _ins(RETURN, KILL)]
    numbers = [pair[column] for pair in PLAIN.values()]
    judged = {name: pair[column] for name, pair in JUDGED.items()}
    rules = _rules(pid)
    if starting:
        rules = {name: rule for name, rule in rules.items() if name not in _STARTING}
        numbers += [judged[name] for name in _STARTING]
        numbers += [_SECCOMP[column], _WAIT4[column]]
    for number in numbers:
        if number is not None:
            code += [_ins(EQUAL, number, 0, 1), _ins(RETURN, ALLOW)]
    code += [_ins(EQUAL, judged["clone3"] or 0, 0, 1), _ins(RETURN, ABSENT)]
    for name, rule in rules.items():
        code += _judge(judged[name] or 0, rule)
    code.append(_ins(RETURN, REFUSE))
    return b"".join(code)


def linked_program(column: int) -> bytes:
    """Return the filter of a program in a network of its own, which may start others inside.

    Against :func:`program`: sockets of the internet's families, which reach no more than that
    network has; processes that share all namespaces; and memory as the loader of native libraries
    wants it. What is left is no way out of the namespaces, no tracing, no device, no mount.

    Args:
        column: As :func:`architecture` returns it.
    """
    plain = [pair[column] for pair in (*PLAIN.values(), *LINKED.values())]
    judged = {name: pair[column] or 0 for name, pair in JUDGED.items()}
    rules = {name: rule for name, rule in _rules(0).items() if name not in _STARTING}
    rules["clone"] = _Rule(0, _NEW_NAMESPACES, (0,))
    code = [_ins(LOAD, _ARCHITECTURE_AT), _ins(EQUAL, AUDIT[column], 1, 0), _ins(RETURN, KILL)]
    code.append(_ins(LOAD, _NUMBER_AT))
    if column == 0:
        code += [_ins(ABOVE, _X32, 0, 1), _ins(RETURN, KILL)]
    for number in (*plain, *(judged[name] for name in _STARTING)):
        if number is not None:
            code += [_ins(EQUAL, number, 0, 1), _ins(RETURN, ALLOW)]
    code += [_ins(EQUAL, judged["clone3"], 0, 1), _ins(RETURN, ABSENT)]
    code += _judge(SOCKET[column], _Rule(0, _ANY, _INTERNET))
    for name, rule in rules.items():
        code += _judge(judged[name], rule)
    code.append(_ins(RETURN, REFUSE))
    return b"".join(code)


def _judge(number: int, rule: _Rule) -> list[bytes]:
    body = [_ins(LOAD, _ARGUMENTS_AT + 8 * rule.argument)]
    if rule.mask != _ANY:
        body.append(_ins(AND, rule.mask))
    for value in rule.values:
        body += [_ins(EQUAL, value, 0, 1), _ins(RETURN, ALLOW)]
    body.append(_ins(RETURN, REFUSE))
    return [_ins(EQUAL, number, 0, len(body)), *body]


def _ins(code: int, constant: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, constant)


def confine(pid: int) -> None:
    """Put every thread of this process under the filter, for good.

    Raises:
        OSError: The kernel does not take it, or a thread has another filter.
    """
    column = architecture()
    code = program(column, pid)
    library = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    whole = Program(len(code) // 8, ctypes.addressof(buffer))
    if library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    done = library.syscall(_SECCOMP[column], _MODE_FILTER, _ALL_THREADS, ctypes.byref(whole))
    if done != 0:  # above zero: the id of a thread that could not follow
        number = ctypes.get_errno() if done < 0 else errno.EBUSY
        raise OSError(number, os.strerror(number))
