"""What a program of the space's user may try against the agent and init, and how the kernel answers.

Prints one JSON object: for each attempt on each process `done`, or the name of the error. $SPACE_AGENT_SOCKET leads to
the agent, which says who they are. Waits for the file `go` in its working folder first, and leaves `attacked.json` there.
"""

import ctypes
import errno
import http.client
import json
import os
import signal
import socket
import time

PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
PIDFD_SEND_SIGNAL, PIDFD_OPEN, PIDFD_GETFD = 424, 434, 438
libc = ctypes.CDLL(None, use_errno=True)


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ["SPACE_AGENT_SOCKET"])


def call(function, *arguments):
    result = function(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def read(pid, name):
    with open(f"/proc/{pid}/{name}", "rb") as file:
        file.read(1)


def steal_descriptor(pid):
    pidfd = os.pidfd_open(pid)
    try:
        for number in range(64):
            try:
                return call(libc.syscall, PIDFD_GETFD, pidfd, number, 0)
            except OSError as error:
                if error.errno != errno.EBADF:
                    raise
        raise OSError(errno.EBADF, "it has no descriptor")
    finally:
        os.close(pidfd)


def signal_by_pidfd(pid):
    pidfd = os.pidfd_open(pid)
    try:
        call(libc.syscall, PIDFD_SEND_SIGNAL, pidfd, signal.SIGKILL, None, 0)
    finally:
        os.close(pidfd)


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def read_memory(pid):
    buffer = ctypes.create_string_buffer(8)
    own = Vector(ctypes.cast(buffer, ctypes.c_void_p), 8)
    other = Vector(0x400000, 8)
    call(libc.process_vm_readv, pid, ctypes.byref(own), 1, ctypes.byref(other), 1, 0)


def trace(pid, how):
    arguments = [ctypes.c_long(argument) for argument in (how, pid, 0, 0)]
    call(libc.ptrace, *arguments)


ATTEMPTS = {
    "environ": lambda pid: read(pid, "environ"),
    "mem": lambda pid: read(pid, "mem"),
    "maps": lambda pid: read(pid, "maps"),
    "fd": lambda pid: os.listdir(f"/proc/{pid}/fd"),
    "exe": lambda pid: os.readlink(f"/proc/{pid}/exe"),
    "process_vm_readv": read_memory,
    "attach": lambda pid: trace(pid, PTRACE_ATTACH),
    "seize": lambda pid: trace(pid, PTRACE_SEIZE),
    "pidfd_getfd": steal_descriptor,
    "pidfd_send_signal": signal_by_pidfd,
    "signal 0": lambda pid: os.kill(pid, 0),
    "SIGTERM": lambda pid: os.kill(pid, signal.SIGTERM),
    "SIGSTOP": lambda pid: os.kill(pid, signal.SIGSTOP),
    "SIGUSR2": lambda pid: os.kill(pid, signal.SIGUSR2),
}


def attempt(what, pid):
    try:
        what(pid)
        return "done"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))


def main():
    while not os.path.exists("go"):
        time.sleep(0.05)
    connection = Connection("space")
    connection.request("GET", "/v1/status")
    agent = json.load(connection.getresponse())["agent"]
    # On itself first: what fails there says nothing about anybody's protection.
    victims = {"agent": agent["pid"], "init": agent["init_pid"]}
    own = {name: attempt(ATTEMPTS[name], os.getpid()) for name in ["environ", "maps", "fd", "exe", "signal 0"]}
    told = {who: {name: attempt(what, pid) for name, what in ATTEMPTS.items()} for who, pid in victims.items()}
    with open("attacked.new", "w") as file:
        json.dump({"uid": os.getuid(), "itself": own, **told}, file)
    os.rename("attacked.new", "attacked.json")
    time.sleep(60)


main()
