"""The work of `cargo bench --bench streams` as the Python peers do it: decode, clean, recognise copies, write.

One table in PostgreSQL, one row a document with its verdict, upserted by id in batches; copies are found by the hash of
the cleaned text and, unless TIDEMILL_BENCH_COPIES is `exact`, by MinHash with 128 permutations and LSH at 0.85.
"""

import hashlib
import json
import os
import re

import psycopg

DSN = os.environ.get("TIDEMILL_BENCH_DSN", "")
BROKERS = os.environ.get("TIDEMILL_BENCH_BROKERS", "")
TOPIC = os.environ.get("TIDEMILL_BENCH_TOPIC", "documents")
NEAR = os.environ.get("TIDEMILL_BENCH_COPIES", "near") != "exact"
THRESHOLD = 0.85
PERMUTATIONS = 128

_SPACE = re.compile(r"\s+")
_URL = re.compile(r"https?://\S+")
_WORD = re.compile(r"\w+")


def clean(text):
    return _SPACE.sub(" ", _URL.sub("", text)).strip().lower()


class Memory:
    """Exact and near copies seen so far."""

    def __init__(self):
        self.exact = {}
        if NEAR:
            from datasketch import MinHashLSH

            self.lsh = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
            self.signatures = {}

    def judge(self, document):
        """The row of a document: id, source, text, verdict, what it copies."""
        text = clean(document["text"])
        digest = hashlib.sha256(text.encode()).digest()
        row = [document["id"], document["source"], document["text"], "stored", None]
        first = self.exact.setdefault(digest, document["id"])
        if first != document["id"]:
            row[3:] = ["duplicate", first]
            return row
        near = self.near(document["id"], text) if NEAR else None
        if near:
            row[3:] = ["duplicate", near]
        return row

    def near(self, name, text):
        from datasketch import MinHash

        words = _WORD.findall(text)
        shingles = {" ".join(words[at:at + 3]).encode() for at in range(max(1, len(words) - 2))}
        signature = MinHash(num_perm=PERMUTATIONS)
        signature.update_batch(shingles)
        for other in self.lsh.query(signature):
            if other != name and self.signatures[other].jaccard(signature) >= THRESHOLD:
                return other
        if name not in self.signatures:
            self.lsh.insert(name, signature)
            self.signatures[name] = signature
        return None


def decode(value):
    """A document, or None for a record that is none."""
    try:
        document = json.loads(value)
    except ValueError:
        return None
    usable = isinstance(document, dict) and isinstance(document.get("text"), str) and document["text"].strip()
    return document if usable else None


class Writer:
    """Upserts rows, a batch a statement."""

    def __init__(self):
        self.connection = psycopg.connect(DSN)
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS documents (id text PRIMARY KEY, source text, text text, verdict text, copy_of text)"
        )
        self.connection.commit()

    def write(self, rows):
        latest = {row[0]: row for row in rows}
        columns = list(zip(*latest.values()))
        self.connection.execute(
            "INSERT INTO documents SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[])"
            " ON CONFLICT (id) DO UPDATE SET verdict = excluded.verdict, copy_of = excluded.copy_of",
            [list(column) for column in columns],
        )
        self.connection.commit()
