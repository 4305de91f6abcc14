"""Objects of a wanted size: how near they come, what the log and the metrics say of them, also over a kill."""

import json
import random
import re

import kit

MIB = 1 << 20
IDENTITY = kit.Identity("acme", ("clicks", "lines"))
COLUMNS = {"id": "string", "at": "timestamp", "page": "string", "user": "string", "price": "double"}
PLANNED = re.compile(r"planned an object.*?stream=(\S+).*?trigger=\"?(\w+).*?record_bytes=(\d+).*?\bbytes=(\d+)")


def records(count, seed):
    chance = random.Random(seed)
    return [
        json.dumps(
            {
                "id": f"{chance.getrandbits(256):064x}",
                "at": f"2026-11-20T12:{number // 60 % 60:02}:{number % 60:02}Z",
                "page": f"https://shop.example.com/{chance.choice(['books', 'music', 'pets'])}/{chance.randrange(5000)}",
                "user": f"u-{int(chance.paretovariate(0.5)) % 100000:06}",
                "price": round(chance.random() * 500, 2),
                "unused": "x" * 40,
            }
        ).encode()
        for number in range(count)
    ]


def planned(server, stream, trigger):
    """Sizes of the objects that a trigger closed, by the log."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", server.log_text())
    found = [match for match in PLANNED.findall(text) if match[:2] == (stream, trigger)]
    return [int(size) for _stream, _trigger, _records, size in found]


def counted(server, stream, trigger):
    _status, text = kit.http("GET", f"{server.admin}/metrics")
    [line] = [
        line
        for line in text.splitlines()
        if line.startswith("lakehose_closed_batches_total{")
        and f'stream="{stream}"' in line
        and f'trigger="{trigger}"' in line
    ] or ["x 0"]
    return int(float(line.rpartition(" ")[2]))


def test_objects_have_the_size_that_was_asked_for_and_say_what_closed_them(new_lakehose, folder_lake):
    buffering = {"target_object_size": "1 MiB", "interval": "900 s"}
    streams = {
        "clicks": {**kit.stream_of({"columns": COLUMNS}), "buffering": dict(buffering)},
        "lines": {
            "destination": {"store": "lake"},
            "buffering": dict(buffering),
            "format": {"records": {"compression": "gzip", "delimiter": "newline_at_end"}},
        },
    }
    server = new_lakehose([IDENTITY], folder_lake, streams).start()
    learnt = {}
    for stream in streams:
        sent = records(110_000, stream)
        kit.send(server.firehose(IDENTITY), stream, sent)
        server.flush(stream)
        kit.assert_conserved(server.status(stream), len(sent))
        aimed, learnt[stream] = planned(server, stream, "target"), planned(server, stream, "size")
        assert len(aimed) >= 3 and 1 <= len(learnt[stream]) <= 3, (aimed, learnt)
        near = [size for size in aimed if 0.9 * MIB <= size <= 1.1 * MIB]
        assert len(near) * 10 >= len(aimed) * 9, (stream, aimed)
        # What the log says is what lies in the lake, and what the metrics count.
        keys = [key for key in folder_lake.keys() if key.startswith(f"{stream}/")]
        sizes = sorted(len(folder_lake.read(key)) for key in keys)
        assert sizes == sorted(aimed + learnt[stream] + planned(server, stream, "flush"))
        assert counted(server, stream, "target") == len(aimed)
        assert counted(server, stream, "size") == len(learnt[stream])

    # Killed and started again, the service knows the sizes: nothing is closed to learn them.
    file = server.data_dir / "streams" / "clicks" / "sizes.json"
    kit.wait_for(lambda: file.exists() and file.read_text().count("],[") >= 3, 60, f"four sizes in {file}")
    server.kill()
    server.start()
    kit.send(server.firehose(IDENTITY), "clicks", records(40_000, "again"))
    server.flush("clicks")
    assert planned(server, "clicks", "size") == learnt["clicks"]
    assert counted(server, "clicks", "target") >= 1
    assert kit.failures(folder_lake) == []
