#!/usr/bin/env python3
"""Grimp's import graph of a package, without its cache: the fastest of five runs, each in a process of its own.

    python3 grimp_imports.py FOLDER PACKAGE

FOLDER is put on the module search path; PACKAGE stands in it.
"""

import subprocess
import sys
import time

ROUNDS = 5


def once(folder, package):
    """Seconds that building the graph takes, without the start of Python, and the size of the graph."""
    sys.path.insert(0, folder)
    import grimp

    started = time.perf_counter()
    graph = grimp.build_graph(package, cache_dir=None)
    print(time.perf_counter() - started, len(graph.modules), graph.count_imports())


def main():
    folder, package = sys.argv[1:3]
    if len(sys.argv) == 4:
        once(folder, package)
        return
    runs = []
    for _ in range(ROUNDS):
        command = [sys.executable, __file__, folder, package, "once"]
        runs.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    seconds, modules, imports = min(runs, key=lambda run: float(run[0]))
    print(f"Grimp: {float(seconds):.3f} s, {modules} modules, {imports} imports")


if __name__ == "__main__":
    main()
