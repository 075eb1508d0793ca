"""Plain transfers between memory and disk, past the page cache, as fast as a few threads get them: what a disk can do
without anything in between. A module, not a program. Standard library only; needs Linux.
"""
import concurrent.futures
import contextlib
import mmap
import os
import pathlib
import threading
import time

BLOCK = 4 << 20
DEPTH = 4  # transfers under way at once, of each kind
PAGE = 4096


@contextlib.contextmanager
def opened(path, flags):
    descriptor = os.open(path, flags | os.O_DIRECT, 0o644)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _shared_out(blocks, transfer):
    """Hands blocks to DEPTH threads, each with a page-aligned buffer of its own. Threads wait in system calls, for which
    Python lets go of its lock."""
    lock = threading.Lock()

    def work():
        with mmap.mmap(-1, BLOCK) as buffer:
            buffer.write(os.urandom(BLOCK))
            while True:
                with lock:
                    block = next(blocks, None)
                if block is None:
                    return
                with memoryview(buffer)[:block[-1]] as view:
                    transfer(view, *block[:-1])

    with concurrent.futures.ThreadPoolExecutor(DEPTH) as pool:
        for done in [pool.submit(work) for _ in range(DEPTH)]:
            done.result()


def _extents(size):
    return ((offset, min(BLOCK, size - offset)) for offset in range(0, size, BLOCK))


def read_files(paths):
    """Reads every byte of the files, one file after another."""
    with contextlib.ExitStack() as stack:
        files = [(stack.enter_context(opened(path, os.O_RDONLY)), os.path.getsize(path)) for path in paths]
        blocks = ((file, offset, -(-count // PAGE) * PAGE) for file, size in files for offset, count in _extents(size))
        _shared_out(blocks, lambda view, file, offset: os.preadv(file, [view], offset))


def write_file(path, size):
    """Writes a new file of random bytes, to the next whole page, and syncs it."""
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
        blocks = ((file, offset, -(-count // PAGE) * PAGE) for offset, count in _extents(size))
        _shared_out(blocks, lambda view, file, offset: os.pwritev(file, [view], offset))
        os.fsync(file)


def seconds_of(*actions):
    """Seconds until all actions, side by side, are done."""
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(len(actions)) as pool:
        for done in [pool.submit(action) for action in actions]:
            done.result()
    return time.monotonic() - began


class Scratch:
    """Files to write and read in a folder, gone afterwards."""

    def __init__(self, folder):
        self.path = pathlib.Path(folder) / f"lamina-benchmark-{os.getpid()}"

    def __enter__(self):
        self.path.mkdir()
        return self.path

    def __exit__(self, *_):
        for file in self.path.iterdir():
            file.unlink()
        self.path.rmdir()
