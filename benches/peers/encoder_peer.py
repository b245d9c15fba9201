#!/usr/bin/env python3
"""sentence-transformers on the texts, threads and model files of `cargo bench --bench encoder`.

    TIDEMILL_BENCH_DUMP=target/bench-texts.txt cargo bench --bench encoder
    python3 -m venv target/peers && target/peers/bin/pip install torch sentence-transformers
    target/peers/bin/python benches/peers/encoder_peer.py target/bench-texts.txt [--threads N] [--batch N]

Prints one JSON object: the shortest of three runs, as the benchmark does.
"""

import argparse
import json
import os
import pathlib
import tempfile
import time


def load(model_dir):
    """The model from its three files; the shipped tokenizer is cut at 256 and pads to the longest, as intended."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    with tempfile.TemporaryDirectory() as directory:
        for name in ("model.safetensors", "tokenizer.json", "config.json"):
            os.symlink(pathlib.Path(model_dir, name).resolve(), pathlib.Path(directory, name))
        config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}
        pathlib.Path(directory, "tokenizer_config.json").write_text(json.dumps(config))
        body = Transformer(directory, max_seq_length=256)
    pooling = Pooling(body.get_word_embedding_dimension(), pooling_mode="mean")
    return SentenceTransformer(modules=[body, pooling, Normalize()], device="cpu")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("texts", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch", type=int, default=32, help="32 is the library's default")
    parser.add_argument("--model", default="models/all-minilm-l6-v2")
    arguments = parser.parse_args()

    import torch

    torch.set_num_threads(arguments.threads)
    texts = arguments.texts.read_text().splitlines()
    model = load(arguments.model)

    def seconds(inputs, batch):
        start = time.perf_counter()
        model.encode(inputs, batch_size=batch, show_progress_bar=False)
        return time.perf_counter() - start

    seconds(texts[:64], arguments.batch)
    best = min(seconds(texts, arguments.batch) for _ in range(3))
    single = min(seconds(texts[:1], 1) for _ in range(30))
    print(json.dumps({
        "engine": f"sentence-transformers, torch {torch.__version__}", "threads": arguments.threads,
        "batch": arguments.batch, "texts": len(texts), "seconds": best, "texts_per_second": len(texts) / best,
        "single_text_ms": single * 1e3, "first_vector": model.encode(texts[:1])[0][:4].tolist(),
    }, indent=2))


if __name__ == "__main__":
    main()
