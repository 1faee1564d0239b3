"""Several processes on one log, of either broker: they see each other's records at once, and survive each other."""

import asyncio
import os
import signal

from tests.contracts.logs import Collected, Log, new_name, new_topic, offsets, read_all, values
from weir.log.log import LogClient, Partition, Record, TopicSpec
from weir.log.tails import Tails

READS = """
    topic = await hear()
    at = Partition(topic, 0)
    say("ready")
    while (line := await hear()) != "end":
        (record,) = await log.read(at, int(line))
        say(record.value.decode(), (await log.bounds(at)).end)
"""

WRITES_FOR_EVER = """
    topic, number = await hear(), 0
    while True:
        for _ in range(20):
            def done(offset, number=number):
                say(number, offset.result())
            log.append(topic, 0, b"k", b"%d" % number).add_done_callback(done)
            number += 1
        await asyncio.sleep(0)
"""

ANSWERS_AND_WRITES = """
    topic, rounds, count = (await hear()).split()
    tails = Tails(log)
    await tails.start()

    async def answer():
        left = int(rounds)
        async with tails.open(Partition(topic, 0), 0) as tail:
            say("ready")
            while left:
                for record in await tail.next(timeout=30):
                    await log.append(topic, 1, record.key, b"re: " + record.value)
                    left -= 1

    async def write():
        for number in range(int(count)):
            await log.append(topic, 2, None, b"theirs %d" % number)

    async def read():
        got = []
        async with tails.open(Partition(topic, 2), 0) as tail:
            while len(got) < 2 * int(count):
                records = await tail.next(timeout=30)
                assert records, got[-1:]
                got += [(record.offset, record.value) for record in records]
        say(got == sorted(set(got)), [value.decode() for _, value in got])

    await answer()
    reading = asyncio.create_task(read())
    await write()
    await reading
    await tails.stop()
"""

CREATES = """
    say("ready")
    topics = (await hear()).split()
    await log.create_topics([TopicSpec(name=topic, partitions=3, retention_s=60.0) for topic in topics], replication=1)
    for topic in topics:
        await log.append(topic, 2, b"k", b"v")
    say("created", {log.partitions(topic) for topic in topics})
"""


async def test_what_was_acknowledged_is_there_for_another_process_at_once(log: Log, client: LogClient) -> None:
    at = await new_topic(client, 1)
    async with log.outside(READS) as other:
        other.tell(at.topic)
        assert await other.line() == "ready"
        for number in range(30):
            offset = await client.append(*at, None, b"%d" % number)
            other.tell(offset)
            assert await other.line() == f"{number} {number + 1}"
        other.tell("end")
        assert await other.process.wait() == 0


async def test_a_topic_that_another_process_creates_is_found(log: Log, client: LogClient, at: Partition) -> None:
    new = Partition(f"{at.topic}-new", 2)
    async with log.outside(CREATES) as other:
        assert await other.line() == "ready"
        other.tell(new.topic)
        assert await other.line() == "created {3}"
        assert values(await client.read(new, 0)) == [b"v"]
        assert client.partitions(new.topic) == 3
        assert await other.process.wait() == 0


async def test_processes_that_start_together_create_each_topic_once(log: Log, client: LogClient) -> None:
    names = [new_name() for _ in range(10)]
    async with log.outside(CREATES) as first, log.outside(CREATES) as second:
        for other in (first, second):
            assert await other.line() == "ready"
        for other in (first, second):
            other.tell(" ".join(names))
        specs = [TopicSpec(name=name, partitions=3, retention_s=60.0) for name in names]
        await client.create_topics(specs, replication=1)
        for other in (first, second):
            assert await other.line() == "created {3}"
        for name in names:
            assert await log.settings(name) == (60.0, False)
            assert await client.bounds(Partition(name, 2)) == (0, 2)
        assert [await other.process.wait() for other in (first, second)] == [0, 0]


async def test_a_killed_process_loses_nothing_that_it_acknowledged(log: Log, client: LogClient) -> None:
    """The log holds its appends in order, without holes; other processes write on."""
    for _ in range(2):
        at = await new_topic(client, 1)
        async with log.outside(WRITES_FOR_EVER) as other:
            other.tell(at.topic)
            acknowledged = [await other.line() for _ in range(300)]
            os.kill(other.process.pid, signal.SIGKILL)
            acknowledged += await other.rest()
        assert await client.append(*at, None, b"ours") >= len(acknowledged)
        *theirs, ours = await read_all(client, at)
        assert ours.value == b"ours"
        assert values(theirs) == [b"%d" % number for number in range(len(theirs))]
        assert offsets(theirs) == list(range(len(theirs)))
        assert acknowledged == [f"{number} {number}" for number in range(len(acknowledged))]


async def test_two_processes_hear_each_other_promptly_and_get_all_in_one_order(
    log: Log, client: LogClient, tails: Tails, at: Partition
) -> None:
    """A command runs like this beside a worker. With a poll of a second the 40 rounds would take 80 seconds."""
    rounds, count = 40, 400
    answers, both = Collected(), Partition(at.topic, 2)
    await client.follow(Partition(at.topic, 1), 0, answers)
    async with log.outside(ANSWERS_AND_WRITES) as other, tails.open(both, 0) as tail:
        other.tell(f"{at.topic} {rounds} {count}")
        assert await other.line() == "ready"
        async with asyncio.timeout(60):
            for number in range(rounds):
                await client.append(at.topic, 0, None, b"%d" % number)
                await answers.reach(Partition(at.topic, 1), number)
        assert values(answers.records[1]) == [b"re: %d" % number for number in range(rounds)]

        got: list[Record] = []
        for number in range(count):
            await client.append(*both, None, b"ours %d" % number)
        while len(got) < 2 * count:
            records = await tail.next(timeout=30)
            assert records, offsets(got)[-1:]
            got += records
        found = [(value or b"").decode() for value in values(got)]
        assert offsets(got) == list(range(2 * count))
        for name in ("ours", "theirs"):
            assert [value for value in found if value.startswith(name)] == [f"{name} {n}" for n in range(count)]
        assert await other.line() == f"True {found}"
        assert await other.process.wait() == 0
