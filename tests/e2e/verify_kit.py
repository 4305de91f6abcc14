"""A second reader of data directories, to damage them to order.

Owns just enough of the byte formats (src/journal/mod.rs) to find a record, a frame, a count, and to
write a checksum that holds over something wrong. Knows nothing of our code. Does not own any claim.
"""

import dataclasses
import json
import pathlib
import shutil
import struct

SEGMENT_HEADER = 576
FRAME_HEADER = 48
FRAME_MAGIC = 0x4C4B4652
BATCH, PLAN, COMMIT, REGISTERED, SEAL = 1, 2, 3, 4, 15


def _table():
    table = []
    for number in range(256):
        for _ in range(8):
            number = number >> 1 ^ (0x82F63B78 if number & 1 else 0)
        table.append(number)
    return table


_TABLE = _table()


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


@dataclasses.dataclass
class Frame:
    offset: int
    kind: int
    payload: int
    meta: int
    first: int
    count: int
    group_offset: int

    @property
    def end(self):
        return self.offset + -(-(FRAME_HEADER + self.payload) // 8) * 8

    @property
    def meta_at(self):
        return self.offset + FRAME_HEADER

    @property
    def data_at(self):
        return self.meta_at + self.meta

    @property
    def payload_end(self):
        return self.meta_at + self.payload


class Segment:
    """One segment file and the frames that follow each other from its start."""

    def __init__(self, path):
        self.path = path
        self.bytes = bytearray(path.read_bytes())
        self.instance = bytes(self.bytes[16:32])
        self.sequence, self.first = struct.unpack_from("<QQ", self.bytes, 32)
        (self.salt,) = struct.unpack_from("<I", self.bytes, 56)
        self.frames = list(self._frames())

    @property
    def is_sealed(self):
        return bool(self.frames) and self.frames[-1].kind == SEAL

    @property
    def end(self):
        return max((frame.first + frame.count for frame in self.frames), default=self.first)

    def of(self, kind):
        return [frame for frame in self.frames if frame.kind == kind]

    def records(self, frame):
        """Offset and length of each record of a batch."""
        at = frame.meta_at
        at += 1 + self.bytes[at]
        at += 1 + self.bytes[at]
        data, found = frame.data_at, []
        for index in range(frame.count):
            (length,) = struct.unpack_from("<I", self.bytes, at + 8 * index)
            found.append((data, length))
            data += length
        return found

    def flip(self, offset):
        self.bytes[offset] ^= 0x10
        self.write()

    def write(self):
        self.path.write_bytes(self.bytes)

    def write_headers(self, **changed):
        """Both copies of the header again, with a checksum that holds."""
        header = self.bytes[:60]
        for place, value in changed.items():
            at = {"format": 8, "instance": 16, "sequence": 32}[place]
            header[at : at + len(value)] = value
        header += struct.pack("<I", crc32c(header))
        self.bytes[:64] = self.bytes[512:576] = header
        self.write()

    def _frames(self):
        offset = SEGMENT_HEADER
        while offset + FRAME_HEADER <= len(self.bytes):
            magic, crc, payload, meta = struct.unpack_from("<IIII", self.bytes, offset)
            front = self.bytes[offset + 8 : offset + FRAME_HEADER]
            if magic != FRAME_MAGIC or crc != crc32c(front, self.salt):
                return
            kind = self.bytes[offset + 20]
            (first,) = struct.unpack_from("<Q", self.bytes, offset + 24)
            count, group_offset = struct.unpack_from("<II", self.bytes, offset + 40)
            frame = Frame(offset, kind, payload, meta, first, count, group_offset)
            if frame.end > len(self.bytes):
                return
            yield frame
            if kind == SEAL:
                return
            offset = frame.end


class Stream:
    """The folder of a stream or, with `log`, of one of its other logs."""

    def __init__(self, data_dir, name="clicks", log=""):
        self.path = pathlib.Path(data_dir) / "streams" / name / log

    def segments(self):
        return [Segment(path) for path in sorted((self.path / "journal").glob("*.seg"))]

    def plans(self):
        """Segment, frame and number of each plan."""
        for segment in self.segments():
            for frame in segment.of(PLAN):
                (length,) = struct.unpack_from("<I", segment.bytes, frame.meta_at)
                text = segment.bytes[frame.meta_at + 4 : frame.meta_at + 4 + length]
                yield segment, frame, json.loads(text)["id"]

    def checkpoints(self):
        return sorted((self.path / "checkpoint").glob("*.ckpt"))

    def outbox(self):
        return sorted((self.path / "outbox").glob("*.obx"))


def checkpoint_text(path):
    """The counts of a checkpoint."""
    bytes_ = path.read_bytes()
    (length,) = struct.unpack_from("<I", bytes_, 16)
    return json.loads(bytes_[20 : 20 + length])


def rewrite_checkpoint(path, **changed):
    """Other counts in a checkpoint whose checksum holds."""
    bytes_ = path.read_bytes()
    (length,) = struct.unpack_from("<I", bytes_, 16)
    text = json.loads(bytes_[20 : 20 + length]) | changed
    text = json.dumps(text, separators=(",", ":")).encode()
    body = struct.pack("<I", len(text)) + text + bytes_[20 + length :]
    path.write_bytes(bytes_[:8] + struct.pack("<II", len(body), crc32c(body)) + body)


def flip(path, offset):
    """Changes one byte of a file; a negative offset counts from its end."""
    bytes_ = bytearray(path.read_bytes())
    bytes_[offset] ^= 0x10
    path.write_bytes(bytes_)


def copy(data_dir, to):
    """A copy of a directory at rest; of the room for a full disk its name will do."""
    shutil.copytree(data_dir, to, ignore=shutil.ignore_patterns("reserve"))
    if (data_dir / "reserve").exists():
        (to / "reserve").write_bytes(b"\0")
    return to
