"""Quix Streams on the work of `cargo bench --bench streams`."""

import logging

from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

import work


class PostgresSink(BatchingSink):
    def __init__(self):
        super().__init__()
        self.writer = work.Writer()

    def write(self, batch: SinkBatch):
        rows = [item.value for item in batch]
        for start in range(0, len(rows), 1000):
            self.writer.write(rows[start:start + 1000])


def main():
    app = Application(
        broker_address=work.BROKERS, consumer_group=work.TOPIC, auto_offset_reset="earliest", loglevel=logging.WARNING,
        commit_interval=1.0, commit_every=1000,
    )
    memory = work.Memory()
    topic = app.topic(work.TOPIC, value_deserializer="bytes", key_deserializer="bytes")
    frame = app.dataframe(topic)
    frame = frame.apply(work.decode).filter(lambda document: document is not None).apply(memory.judge)
    frame.sink(PostgresSink())
    app.run()


main()
