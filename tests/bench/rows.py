# SPDX-License-Identifier: MIT
"""What "make bench" runs, and the ratios that are aimed at."""

from collections import namedtuple

# seconds: about how long, of the default form; quick: part of the quick form, too.
Run = namedtuple("Run", "bench seconds options quick")

RUNS = [
    Run("ringtrip", 18, [], True),
    Run("slots", 8, [], True),
    Run("spsc", 7, ["--batch", "1"], True),
    Run("spsc", 6, ["--batch", "8"], False),
    Run("spsc", 8, ["--batch", "32"], True),
    Run("spsc", 6, ["--batch", "128"], False),
    Run("stamped", 5, ["--batch", "1"], False),
    Run("stamped", 5, ["--batch", "32"], True),
    Run("inbox", 6, [], True),
    Run("mpmc", 8, ["--batch", "1"], True),
    Run("mpmc", 6, ["--batch", "8"], False),
    Run("mpmc", 8, ["--batch", "32"], True),
    Run("mpmc", 6, ["--batch", "128"], False),
    Run("pairs", 10, [], True),
    Run("bytes", 40, [], True),
    Run("log", 10, [], False),
    Run("channel", 10, [], False),
    Run("bcast", 3, [], False),
    Run("fanout", 8, [], False),
    Run("dir", 2, [], True),
    Run("hub", 4, [], True),
    Run("port", 3, [], False),
    Run("lease", 4, [], False),
    Run("handles", 8, [], True),
    Run("call", 24, [], True),
    Run("heap", 20, [], True),
    Run("heap-many", 6, [], True),
    Run("heap-random", 6, [], True),
    Run("heap-remote", 8, [], True),
    Run("ring", 6, [], True),
    Run("wake", 8, [], True),
    Run("reap", 8, [], True),
    Run("peers", 2, [], False),
    Run("positions", 4, [], False),
    Run("nop", 2, ["--batch", "1"], True),
    Run("nop", 1, ["--batch", "8"], False),
    Run("nop", 2, ["--batch", "32"], True),
    Run("nop", 1, ["--batch", "128"], False),
    Run("file-read", 7, [], True),
    Run("file-write", 7, [], False),
    Run("file-peer", 5, [], False),
    Run("echo", 4, [], True),
    Run("inject", 4, [], True),
    Run("timer-cancel", 2, [], True),
    Run("timer-expire", 3, [], True),
    Run("memory", 0, [], True),
]

# What stands in no struct bench: it is counted, and has no rivals.
COUNTED = ["memory"]

FASTEST = "the fastest"

# kind: what is compared, and which way the aim lies.
#   rate  ours / theirs is at least the aim
#   time  ours / theirs is at most the aim; of round trips p50
#   more  ours - theirs, in nanoseconds of an operation, is at most the aim
#   each  ours alone, in milliseconds for each GiB of its size, is at most the aim;
#         theirs stands beside it
# aim: None: it is told, and not judged.
# theirs: a rival's name, or several, of which the fastest counts, or FASTEST: of all.
Row = namedtuple("Row", "what bench batch size manner ours kind theirs their_manner aim")


def row(what, bench, size, kind, theirs, aim, **other):
    manner = other.get("manner", "spinning")
    return Row(what, bench, other.get("batch", 0), size, manner, other.get("ours", "evering"), kind,
               theirs, other.get("their_manner", manner), aim)


ROWS = [
    row("SPSC 8 B, batches of 32", "spsc", 8, "rate", FASTEST, 3, batch=32),
    row("SPSC 8 B, one by one", "spsc", 8, "rate", FASTEST, 3, batch=1),
    row("SPSC, a cache line with its stamp", "stamped", 56, "rate", FASTEST, 2, batch=32,
        ours="evering slots"),
    row("round trip 64 B, spinning", "ringtrip", 64, "time", "bare cache line", 1.5),
    row("round trip 64 B, spinning", "ringtrip", 64, "time",
        ["ck_ring spsc", "rte_ring SP/SC", "boost spsc_queue", "UCX shm"], 1),
    row("round trip of wakes", "wake", 8, "time", "futex", 1.15, manner="sleeping",
        ours="evering bells"),
    row("MPMC 8 B, one by one", "mpmc", 8, "rate", ["rte_ring MP/MC", "ck_ring mpmc"], 5, batch=1),
    row("MPMC 8 B, batches of 32", "mpmc", 8, "rate", "rte_ring MP/MC", 1, batch=32),
    row("MPMC 8 B, both push and pop", "pairs", 8, "time", "Vyukov, no repair", 1.5),
] + [
    row("request and answer, 8 outstanding, %s" % text, "call", size, "rate", "UNIX socket", aim,
        manner="spinning", their_manner="sleeping")
    for text, size, aim in (("1 B", 1, 10), ("64 B", 64, 10), ("1 KiB", 1024, 8),
                            ("64 KiB", 65536, 3))
] + [
    row("request and answer, 8 outstanding, %s" % text, "call", size, "rate", "UNIX socket", aim,
        manner="adaptive", their_manner="sleeping")
    for text, size, aim in (("1 B", 1, 3.5), ("64 B", 64, 3), ("1 KiB", 1024, 2),
                            ("64 KiB", 65536, 1.5))
] + [
    row("heap: get and free, 64 B", "heap", 64, "time", "mimalloc", 1.6, ours="evering heap"),
    row("heap: a hundred of 64 B", "heap-many", 64, "time", "mimalloc", 1.4, ours="evering heap"),
    row("heap: random 16 to 1039 B", "heap-random", 1039, "time", "mimalloc", 1.6,
        ours="evering heap"),
    row("got here, freed there", "heap-remote", 64, "time", "mimalloc", 0.5, ours="evering heap"),
    row("got here, freed there, above the ring", "heap-remote", 64, "more", "the ring alone", 6,
        ours="evering heap"),
    row("1 MiB by handle", "handles", 1 << 20, "rate", "UNIX socket", 20, manner="sleeping"),
    row("settling an idle peer", "reap", 64 << 20, "each", "a look at each page", 1),
    row("ringing who is awake", "ring", 8, "rate", "eventfd write", 1, manner="sleeping",
        ours="evering ring"),
] + [
    row("memory by name, found", "dir", 4096, "rate", "shm_open, mmap", None, ours="evering find"),
    row("memory by name, made and removed", "dir", 4096, "rate", "shm_open, mmap, shm_unlink", None,
        ours="evering create, remove"),
    row("connect, a message each way, close", "hub", 64, "time", "UNIX socket", None,
        manner="sleeping", ours="evering hub"),
    row("an end handed over, and an answer", "port", 64, "time", "SCM_RIGHTS, a socket", None,
        manner="sleeping", ours="evering port"),
    row("1 MiB lent, mapped and given back", "lease", 1 << 20, "time", "SCM_RIGHTS, a memfd", None,
        manner="sleeping", ours="evering lease"),
    row("64 B to 8 subscribers", "fanout", 64, "rate", ["pipes, 8", "UNIX sockets, 8"], None,
        manner="sleeping", ours="evering subscribers, 8"),
    row("64 B to 8 isolated subscribers", "fanout", 64, "rate", ["pipes, 8", "UNIX sockets, 8"], None,
        manner="sleeping", ours="evering isolated subscribers, 8"),
    row("64 B to 8 observers", "fanout", 64, "rate", ["pipes, 8", "UNIX sockets, 8"], None,
        manner="sleeping", ours="evering observers, 8"),
    row("a message among 255 peers", "peers", 8, "time", "evering, 2 peers", 1.1,
        ours="evering, 255 peers"),
    row("a message after 10^9 others", "positions", 8, "time", "evering, from 0", 1.1,
        ours="evering, at 10^9"),
    row("messages over position 2^63", "positions", 8, "time", "evering, from 0", 1.1,
        ours="evering, over 2^63"),
] + [
    row(what, bench, size, kind, theirs, aim, manner="sleeping", ours=ours, batch=batch)
    for what, bench, size, batch, ours, kind, theirs, aim in (
        ("driver: no-op, batches of 32", "nop", 8, 32, "evering driver", "time", "liburing", 1.12),
        ("driver: no-op, one by one", "nop", 8, 1, "evering driver", "time", "liburing", 1.12),
        ("driver: read 512 B, fixed", "file-read", 512, 0, "evering driver, fixed", "more",
         "liburing, fixed", 10),
        ("driver: read 4 KiB", "file-read", 4096, 0, "evering driver", "rate", "pread", None),
        ("driver: read 64 KiB, fixed", "file-read", 65536, 0, "evering driver, fixed", "rate",
         "liburing, fixed", None),
        ("driver: write 4 KiB", "file-write", 4096, 0, "evering driver", "rate", "pwrite", None),
        ("driver: 64 KiB from file to peer", "file-peer", 65536, 0, "evering driver", "rate",
         "read, write, pipe", None),
        ("driver: 64 KiB from file to peer", "file-peer", 65536, 0, "evering driver", "rate",
         "splice, pipe", None),
        ("driver: echo of 64 B over TCP", "echo", 64, 0, "evering driver", "rate", "liburing", None),
        ("driver: echo of 64 B over TCP", "echo", 64, 0, "evering driver", "rate", "epoll", None),
        ("driver: calls of one other thread", "inject", 8, 0, "evering driver, 1 thread", "rate",
         "mutex and eventfd, 1 thread", None),
        ("driver: calls of 8 other threads", "inject", 8, 0, "evering driver, 8 threads", "rate",
         "mutex and eventfd, 8 threads", None),
        ("driver: timers started and cancelled", "timer-cancel", 8, 0, "evering driver", "rate",
         ["liburing", "timerfd"], None),
        ("driver: timers started and expired", "timer-expire", 8, 0, "evering driver", "rate",
         ["liburing", "timerfd"], None),
    )
]
