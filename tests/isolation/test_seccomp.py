"""The filter, run in an interpreter of its own for both processors: what it lets through."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import struct

import pytest

from sandbox import seccomp
from sandbox.seccomp import ABSENT, ALLOW, AUDIT, KILL, REFUSE, program
from sandbox.syscalls import JUDGED, LINKED, PLAIN, SOCKET

PID = 4711
COLUMNS = sorted(seccomp.ARCHITECTURES.values())
NAMED = {**PLAIN, **JUDGED}
# What would open a door; by its number on both processors.
FORBIDDEN = {
    "socket": (41, 198), "connect": (42, 203), "socketpair": (53, 199), "kill": (62, 129),
    "tkill": (200, 130), "ptrace": (101, 117), "mount": (165, 40), "umount2": (166, 39),
    "unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51), "setuid": (105, 146),
    "bpf": (321, 280), "io_uring_setup": (425, 425), "perf_event_open": (298, 241),
    "keyctl": (250, 219), "process_vm_readv": (310, 270), "memfd_create": (319, 279),
    "fchmod": (91, 52), "fchownat": (260, 54), "utimensat": (280, 88), "linkat": (265, 37),
    "symlinkat": (266, 36), "mknodat": (259, 33), "setsid": (112, 157), "flock": (73, 32),
    "execveat": (322, 281), "openat2": (437, 437), "pidfd_send_signal": (424, 424),
    "seccomp": (317, 277), "userfaultfd": (323, 282), "truncate": (76, 45), "wait4": (61, 260),
    "setpriority": (141, 140), "shmget": (29, 194), "inotify_add_watch": (254, 27),
}  # fmt: skip


def verdict(code: bytes, number: int, arguments: tuple[int, ...] = (), audit: int = 0) -> int:
    """Run classic BPF over one call (``struct seccomp_data``)."""
    padded = (*arguments, *[0] * (6 - len(arguments)))
    data = struct.pack("=IIQ6Q", number, audit, 0, *padded)
    steps = list(struct.iter_unpack("=HBBI", code))
    place = accumulator = 0
    while True:
        kind, if_true, if_false, constant = steps[place]
        place += 1
        if kind == seccomp.LOAD:
            (accumulator,) = struct.unpack_from("=I", data, constant)
        elif kind == seccomp.AND:
            accumulator &= constant
        elif kind == seccomp.EQUAL:
            place += if_true if accumulator == constant else if_false
        elif kind == seccomp.ABOVE:
            place += if_true if accumulator >= constant else if_false
        else:
            assert kind == seccomp.RETURN
            return int(constant)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("starting", [False, True])
def test_what_is_not_listed_is_refused(column: int, starting: bool) -> None:
    code = program(column, PID, starting=starting)
    listed = {pair[column] for pair in NAMED.values()}
    extra = {seccomp._SECCOMP[column], seccomp._WAIT4[column]} if starting else set()
    for number in range(600):
        if number not in listed | extra:
            assert verdict(code, number, audit=AUDIT[column]) == REFUSE, number


@pytest.mark.parametrize("column", COLUMNS)
def test_no_door_is_listed(column: int) -> None:
    code = program(column, PID)
    for name, pair in FORBIDDEN.items():
        assert verdict(code, pair[column], audit=AUDIT[column]) == REFUSE, name


@pytest.mark.parametrize("column", COLUMNS)
def test_another_calling_convention_is_the_end(column: int) -> None:
    code = program(column, PID)
    assert verdict(code, 0, audit=0x40000003) == KILL  # i386
    assert verdict(code, 0, audit=AUDIT[1 - column]) == KILL
    if column == 0:
        assert verdict(code, 0x40000000, audit=AUDIT[0]) == KILL


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize(
    ("name", "arguments", "allowed"),
    [
        ("clone", (0x3D0F00,), True),  # what pthread_create passes
        ("clone", (17,), False),
        ("clone", (0x3D0F00 | 0x10000000,), False),
        ("clone", (0x3D0F00 | 0x80,), False),
        ("fcntl", (0, 3), True),
        ("fcntl", (0, 8), False),  # F_SETOWN
        ("fcntl", (0, 10), False),  # F_SETSIG
        ("fcntl", (0, 15), False),  # F_SETOWN_EX
        ("fcntl", (0, 1033), False),  # F_ADD_SEALS
        ("ioctl", (0, 0x5412), False),  # TIOCSTI
        ("ioctl", (0, 0x541C), False),  # TIOCLINUX
        ("ioctl", (0, 0x5401), True),
        ("mmap", (0, 4096, 7), False),
        ("mmap", (0, 4096, 6), False),
        ("mmap", (0, 4096, 5), True),
        ("mmap", (0, 4096, 3), True),
        ("mprotect", (0, 4096, 1), True),
        ("mprotect", (0, 4096, 5), False),
        ("prctl", (1, 0), False),  # PR_SET_PDEATHSIG
        ("prctl", (4, 1), False),  # PR_SET_DUMPABLE
        ("prctl", (15, 0), True),
        ("prlimit64", (0, 9), True),
        ("prlimit64", (1, 9), False),
        ("tgkill", (PID, 1, 6), True),
        ("tgkill", (1, 1, 9), False),
        ("execve", (), False),
    ],
)
def test_arguments_are_judged(
    column: int, name: str, arguments: tuple[int, ...], allowed: bool
) -> None:
    number = JUDGED[name][column]
    assert number is not None
    found = verdict(program(column, PID), number, arguments, AUDIT[column])
    assert (found == ALLOW) is allowed
    # Bits above the lower half change nothing: the kernel does not look at them.
    high = tuple(argument | 1 << 40 for argument in arguments)
    assert verdict(program(column, PID), number, high, AUDIT[column]) == found


@pytest.mark.parametrize("column", COLUMNS)
def test_clone3_is_not_there(column: int) -> None:
    assert verdict(program(column, PID), 435, audit=AUDIT[column]) == ABSENT
    assert ABSENT & 0xFFFF == errno.ENOSYS


@pytest.mark.parametrize("column", COLUMNS)
def test_it_is_short_enough_for_the_kernel(column: int) -> None:
    assert len(program(column, PID)) // 8 < 4096  # BPF_MAXINSNS


@pytest.mark.parametrize("column", COLUMNS)
def test_the_numbers_are_those_of_libseccomp(column: int) -> None:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("libseccomp is not installed here; apt-get install libseccomp2")
    resolve = library.seccomp_syscall_resolve_name_arch
    for name, pair in {**NAMED, **FORBIDDEN}.items():
        number = resolve(ctypes.c_uint32(AUDIT[column]), name.encode())
        assert pair[column] == (number if number >= 0 else None), name


@pytest.mark.parametrize("column", COLUMNS)
def test_a_program_with_a_network_of_its_own_has_no_door_either(column: int) -> None:
    code = seccomp.linked_program(column)
    listed = {pair[column] for pair in (*NAMED.values(), *LINKED.values())} | {SOCKET[column]}
    for number in range(600):
        if number not in listed:
            assert verdict(code, number, audit=AUDIT[column]) == REFUSE, number
    for family, expected in ((2, ALLOW), (10, ALLOW), (1, REFUSE), (16, REFUSE), (17, REFUSE)):
        assert verdict(code, SOCKET[column], (family,), AUDIT[column]) == expected
    clone = JUDGED["clone"][column] or 0
    assert verdict(code, clone, (17,), AUDIT[column]) == ALLOW  # SIGCHLD: a process like this one
    for space in (0x00020000, 0x10000000, 0x40000000, 0x20000000):  # new mounts, users, net, pids
        assert verdict(code, clone, (17 | space,), AUDIT[column]) == REFUSE
    assert verdict(code, 0, audit=0x40000003) == KILL
