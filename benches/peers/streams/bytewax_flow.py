"""Bytewax on the work of `cargo bench --bench streams`: python -m bytewax.run bytewax_flow:flow"""

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition

import work


class Partition(StatelessSinkPartition):
    def __init__(self):
        self.writer = work.Writer()

    def write_batch(self, items):
        self.writer.write([row for _, row in items])


class PostgresSink(DynamicSink):
    def build(self, step_id, worker_index, worker_count):
        return Partition()


def judge(memory, document):
    memory = memory or work.Memory()
    return memory, memory.judge(document)


flow = Dataflow("documents")
messages = op.input("in", flow, KafkaSource(work.BROKERS.split(","), [work.TOPIC], tail=True, batch_size=1000))
documents = op.filter_map("decode", messages, lambda message: work.decode(message.value))
# one memory sees every document, as copies may stand in different partitions
together = op.key_on("together", documents, lambda document: "all")
judged = op.stateful_map("judge", together, judge)
op.output("out", judged, PostgresSink())
