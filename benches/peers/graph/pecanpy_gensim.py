#!/usr/bin/env python3
"""PecanPy's walks and gensim's training on the graphs that `cargo bench --bench graph -- split` wrote.

    python3 pecanpy_gensim.py DIR [--threads N] [--dimension D] [--walk-length L] [--window W] [--walks N] [--epochs E]

For each DIR/NAME.SEED.train.tsv writes DIR/NAME.SEED.pecanpy.vectors (one node a line: number, then the vector) and prints
one JSON object a line with the seconds walks and training took. Numba has compiled before the clock starts.
"""

import argparse
import json
import pathlib
import tempfile
import time

import numpy
from gensim.models import Word2Vec
from pecanpy import pecanpy


def walks_of(path, options, seed):
    """Walks from every node, and the seconds drawing them took."""
    kind = pecanpy.FirstOrderUnweighted if options.p == options.q == 1 else pecanpy.SparseOTF
    graph = kind(p=options.p, q=options.q, workers=options.threads, verbose=False, random_state=seed)
    graph.read_edg(str(path), weighted=False, directed=False)
    started = time.perf_counter()
    graph.preprocess_transition_probs()
    # The walk length of PecanPy counts steps; ours counts nodes.
    walks = graph.simulate_walks(options.walks, options.walk_length - 1)
    return walks, time.perf_counter() - started


def vectors_of(walks, options, seed):
    """gensim's vectors by node name, and the seconds learning them took."""
    started = time.perf_counter()
    model = Word2Vec(
        walks,
        vector_size=options.dimension,
        window=options.window,
        sg=1,
        min_count=0,
        workers=options.threads,
        epochs=options.epochs,
        seed=seed,
    )
    return model.wv, time.perf_counter() - started


def learn(path, options):
    name, seed, _, _ = path.name.rsplit(".", 3)
    walks, walk_seconds = walks_of(path, options, int(seed))
    vectors, train_seconds = vectors_of(walks, options, int(seed))
    lines = [node + "".join(f" {value:.7g}" for value in vectors[node]) + "\n" for node in vectors.index_to_key]
    (path.parent / f"{name}.{seed}.pecanpy.vectors").write_text("".join(lines))
    result = {"graph": name, "seed": int(seed), "walk_seconds": walk_seconds, "train_seconds": train_seconds}
    print(json.dumps(result), flush=True)


def warm_up(options):
    """Numba compiles on first use; that is not counted."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "ring.edg")
        path.write_text("".join(f"{node}\t{(node + 1) % 50}\n" for node in range(50)))
        walks_of(path, options, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--walk-length", type=int, default=20)
    parser.add_argument("--window", type=int, default=10)
    parser.add_argument("--walks", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("-p", type=float, default=1.0)
    parser.add_argument("-q", type=float, default=1.0)
    options = parser.parse_args()
    numpy.random.seed(1)
    warm_up(options)
    for path in sorted(options.directory.glob("*.train.tsv")):
        learn(path, options)


if __name__ == "__main__":
    main()
