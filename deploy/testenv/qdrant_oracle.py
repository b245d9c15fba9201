#!/usr/bin/env python3
"""Writes tests/fixtures/golden_qdrant.json: what Qdrant's own engine answers, for the test server to be compared with.

Matching of booleans is left out: the package's Python side reads True as 1.

Needs the package qdrant-edge-py (Qdrant's engine in process):

    python3 -m venv /tmp/oracle && /tmp/oracle/bin/pip install qdrant-edge-py==0.9.0
    /tmp/oracle/bin/python deploy/testenv/qdrant_oracle.py > tests/fixtures/golden_qdrant.json
"""

import json
import random
import sys
import tempfile
import uuid

import qdrant_edge as q

DIMENSION = 8
POINTS = 120
QUERIES = 140
random.seed(20261123)


def vector():
    return [round(random.uniform(-1, 1), 4) for _ in range(DIMENSION)]


def identity(index):
    """Points are written by index; every seventh is named by its number, the others by UUID."""
    return index if index % 7 == 0 else uuid.uuid5(uuid.NAMESPACE_OID, f"point-{index}")


NAMES = {str(identity(index)): index for index in range(1000)}


def name(identifier):
    return NAMES[str(identifier)]


def scored(found):
    return [[name(point.id), round(point.score, 6)] for point in found]


def payload(index):
    body = {"document_id": f"doc-{index}", "timestamp": 1_750_000_000_000 + index * 60_000}
    body["source"] = random.choice(["news", "reddit", "twitter"])
    symbols = random.choice([["AAPL"], ["AAPL", "MSFT"], [], None, "AAPL", ["TSLA", "GOOG", "MSFT"], "missing", [None]])
    if symbols != "missing":
        body["symbols"] = symbols
    body["state"] = random.choice(["stored", "stored", "pending", "gone"])
    if random.random() < 0.5:
        body["origin"] = f"documents/{index % 3}/{index}"
    if random.random() < 0.3:
        body["mixed"] = random.choice([3, 3.5, "3", True, None, [1, "a"]])
    return body


points = [{"id": i, "vector": vector(), "payload": payload(i)} for i in range(POINTS)]


def leaf():
    kind = random.randrange(11)
    if kind == 0:
        return {"key": "source", "match": {"value": random.choice(["news", "reddit", "none"])}}
    if kind == 1:
        return {"key": "symbols", "match": {"value": random.choice(["AAPL", "MSFT", "TSLA", "NONE"])}}
    if kind in (2, 3):
        bound = lambda: 1_750_000_000_000 + random.randrange(-5, POINTS + 5) * 60_000
        return {"key": "timestamp", "range": {random.choice(["gte", "gt"]): bound(), random.choice(["lte", "lt"]): bound()}}
    if kind == 4:
        return {"has_id": random.sample([p["id"] for p in points], random.randrange(0, 30))}
    if kind == 5:
        return {"key": "state", "match": {"value": random.choice(["stored", "pending", "gone"])}}
    if kind == 6:
        return {"is_empty": random.choice(["symbols", "origin", "mixed", "nothing"])}
    if kind == 7:
        return {"is_null": random.choice(["symbols", "mixed", "origin"])}
    if kind == 8:
        return {"key": "origin", "match": {"any": [f"documents/{i % 3}/{i}" for i in random.sample(range(POINTS), 20)]}}
    if kind == 9:
        return {"key": random.choice(["symbols", "source"]), "match": {"except": random.sample(["AAPL", "news", "MSFT"], 2)}}
    return random.choice([
        {"key": "mixed", "match": {"value": 3}},
        {"key": "mixed", "match": {"value": "3"}},
        {"key": "mixed", "range": {"gte": 1, "lte": 3.2}},
        {"key": "timestamp", "match": {"value": 1_750_000_000_000 + 600_000}},
    ])


def condition(depth):
    if depth > 0 and random.random() < 0.2:
        return {"filter": a_filter(depth - 1)}
    return leaf()


def a_filter(depth=1):
    chosen = {}
    for part, most in (("must", 2), ("must_not", 2), ("should", 3)):
        if random.random() < 0.55:
            chosen[part] = [condition(depth) for _ in range(random.randrange(0, most + 1))]
    return chosen


def edge_condition(c):
    if "filter" in c:
        return edge_filter(c["filter"])
    if "has_id" in c:
        return q.HasIdCondition({identity(i) for i in c["has_id"]})
    if "is_empty" in c:
        return q.IsEmptyCondition(c["is_empty"])
    if "is_null" in c:
        return q.IsNullCondition(c["is_null"])
    if "range" in c:
        return q.FieldCondition(c["key"], range=q.RangeFloat(**{k: float(v) for k, v in c["range"].items()}))
    match = c["match"]
    if "any" in match:
        return q.FieldCondition(c["key"], match=q.MatchAny(match["any"]))
    if "except" in match:
        return q.FieldCondition(c["key"], match=q.MatchExcept(match["except"]))
    return q.FieldCondition(c["key"], match=q.MatchValue(match["value"]))


def edge_filter(f):
    return q.Filter(**{part: [edge_condition(c) for c in conditions] for part, conditions in f.items()})


shard = q.EdgeShard.create(
    tempfile.mkdtemp(prefix="oracle-"),
    q.EdgeConfig(vectors=q.EdgeVectorParams(size=DIMENSION, distance=q.Distance.Cosine)),
)
shard.update(q.UpdateOperation.upsert_points(
    [q.Point(id=identity(p["id"]), vector=p["vector"], payload=p["payload"]) for p in points]))
for field, kind in (("source", "Keyword"), ("symbols", "Keyword"), ("timestamp", "Integer"), ("state", "Keyword")):
    shard.update(q.UpdateOperation.create_field_index(field, getattr(q.PayloadSchemaType, kind)))

queries = []
for _ in range(QUERIES):
    asked = {"vector": vector(), "filter": a_filter(), "limit": random.choice([1, 5, 10, 40])}
    if random.random() < 0.3:
        asked["offset"] = random.randrange(0, 5)
    if random.random() < 0.3:
        asked["score_threshold"] = round(random.uniform(-0.3, 0.8), 3)
    found = shard.query(q.QueryRequest(
        limit=asked["limit"], offset=asked.get("offset"), query=q.Query.Nearest(asked["vector"]),
        filter=edge_filter(asked["filter"]), score_threshold=asked.get("score_threshold"),
        params=q.SearchParams(exact=True), with_payload=True))
    asked["found"] = scored(found)
    asked["count"] = shard.count(q.CountRequest(exact=True, filter=edge_filter(asked["filter"])))
    queries.append(asked)

scrolls = []
for _ in range(12):
    wanted, offset, pages = a_filter(), None, []
    while True:
        records, following = shard.scroll(q.ScrollRequest(offset=offset, limit=17, filter=edge_filter(wanted)))
        pages.append({"ids": [name(r.id) for r in records], "next": None if following is None else name(following)})
        if following is None:
            break
        offset = following
    scrolls.append({"filter": wanted, "limit": 17, "pages": pages})

# changes: what is left after each
changes = []


def left():
    return shard.count(q.CountRequest(exact=True))


modes = {"upsert": q.UpdateMode.Upsert, "insert_only": q.UpdateMode.InsertOnly, "update_only": q.UpdateMode.UpdateOnly}
for step in range(9):
    mode = list(modes)[step % 3]
    new = [{"id": 100 + 9 * step + k, "vector": vector(), "payload": {"document_id": f"new-{step}-{k}"}}
           for k in range(8)]
    shard.update(q.UpdateOperation.upsert_points(
        [q.Point(id=identity(p["id"]), vector=p["vector"], payload=p["payload"]) for p in new], update_mode=modes[mode]))
    asked = vector()
    found = shard.query(q.QueryRequest(limit=10, query=q.Query.Nearest(asked), params=q.SearchParams(exact=True)))
    changes.append({"upsert": new, "mode": mode, "left": left(), "vector": asked,
                    "found": scored(found)})
    wanted = a_filter()
    wanted.setdefault("must", []).append({"has_id": random.sample([p["id"] for p in points], 30)})
    shard.update(q.UpdateOperation.delete_points_by_filter(edge_filter(wanted)))
    changes.append({"delete": wanted, "left": left()})

golden = {"engine": "qdrant-edge-py 0.9.0", "dimension": DIMENSION, "points": points, "queries": queries,
          "scrolls": scrolls, "changes": changes}
# one entry a line: small, and its differences can be read
out = {key: value for key, value in golden.items() if not isinstance(value, list)}
lines = ["{"] + [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in out.items()]
lists = {key: value for key, value in golden.items() if isinstance(value, list)}
for at, (key, entries) in enumerate(lists.items()):
    lines.append(f" {json.dumps(key)}: [")
    lines += [f"  {json.dumps(entry)}{',' if i + 1 < len(entries) else ''}" for i, entry in enumerate(entries)]
    lines.append(" ]" + ("," if at + 1 < len(lists) else ""))
lines.append("}")
sys.stdout.write("\n".join(lines) + "\n")
