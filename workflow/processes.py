"""Processes that do not outlive the one that waits for them, however that one ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

PARENT = "EHANET_PARENT"  # the front door's process id, for the engine
PATIENCE = 60  # seconds that a cluster's executor has to cancel its jobs


def end_with_parent(parent: int | None = None, cancel: bool = False) -> None:
    """End this process and all below it when ``parent`` (default: the present one) is gone.

    Args:
        cancel: interrupt first, so that Snakemake can cancel jobs that run on other machines.
    """
    parent = parent or os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        if cancel:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(PATIENCE)
        import psutil

        for child in psutil.Process().children(recursive=True):
            child.kill()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Snakemake, with the arguments of this process, for as long as the front door lives."""
    end_with_parent(int(os.environ[PARENT]), cancel="--executor" in sys.argv)
    from snakemake.cli import main as snakemake

    snakemake(sys.argv[1:])


if __name__ == "__main__":
    main()
