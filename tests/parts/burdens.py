"""What makes the end of a space hard. Each ends by itself after 90 s, in case nobody ends it.

Arguments, one of:
  stubborn      ignores SIGTERM                 descriptors   holds 2000 open files
  children      forks children that sleep, all the time
  chain         each generation forks the next one and ends
  sessions      the same, each generation in a session of its own
"""

import os
import resource
import signal
import sys
import time

END = time.monotonic() + 90
HELD = 2000


def stubborn():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    tell("stubborn", 1)
    sleep()


def descriptors():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(HELD)]
    tell("descriptors", len(held))
    sleep()


def children():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    forked = 0
    while time.monotonic() < END:
        if os.fork() == 0:
            time.sleep(1)
            os._exit(0)
        forked += 1
        if forked == 20:
            tell("children", forked)
        time.sleep(0.005)


def chain(apart=False):
    generation = 0
    while time.monotonic() < END:
        if os.fork():
            os._exit(0)
        if apart:
            os.setsid()
        generation += 1
        if generation == 100:
            tell("sessions" if apart else "chain", generation)


def sessions():
    chain(apart=True)


def sleep():
    while (left := END - time.monotonic()) > 0:
        time.sleep(left)


def tell(kind, count):
    """Says that it has got going: by a file in its working folder, the home."""
    with open(f"burden-{kind}", "w") as file:
        print(count, file=file)


kinds = {f.__name__: f for f in [stubborn, descriptors, children, chain, sessions]}
kinds[sys.argv[1]]()
