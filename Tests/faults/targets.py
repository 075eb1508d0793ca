"""Which bytes of a store faults are aimed at, and what Lamina has to say about each. A module, not a program."""
import dataclasses
import json
import struct


@dataclasses.dataclass(frozen=True)
class Target:
    """A range of bytes of one file of a store that is read for one purpose."""
    path: str  # relative to the store
    start: int
    size: int
    layer: str | None = None
    tensor: str | None = None
    is_vector: bool = False

    @property
    def region(self):
        if self.tensor:
            return "chunk"
        return "shard header" if self.layer else "manifest" if self.path == "manifest.json" else "side file"

    def says(self, kind):
        """What the error message must contain. A failed read can be of several tensors' chunks, a wrong byte is in one.
        """
        wanted = [self.path]
        if self.layer:
            wanted.append(f"layer {self.layer}:")
        if self.tensor and kind == "flip":
            wanted.append(f"tensor {self.tensor}:")
        return wanted


def chunk_targets(store, shard):
    """The chunks of a shard, by the header in its first bytes (formats/shard.md)."""
    with open(store / shard["path"], "rb") as file:
        magic, _, count, _, _, table_size = struct.unpack("<8sIIQQQ", file.read(40))
        assert magic == b"\x93LAMINA\n", f"{shard['path']} is no shard"
        file.seek(64)
        table, at = file.read(table_size), 0
    tensors = {tensor["stored_name"]: tensor for tensor in shard["tensors"]}
    for _ in range(count):
        name_bytes, _, _, _, rank, planes, _, _, chunks = struct.unpack_from("<HBBBBHQQQ", table, at)
        at += 32 + 8 * rank
        tensor = tensors[table[at:at + name_bytes].decode()]
        at += -(-name_bytes // 8) * 8
        for _ in range(chunks * planes):
            offset, _, size, _ = struct.unpack_from("<QQIB", table, at)
            at += 24
            yield Target(shard["path"], offset, size, shard["layer"], tensor["name"], len(tensor["shape"]) == 1)
    # The fixed part that its checksum covers, and the table; behind it nothing but zeros.
    yield Target(shard["path"], 0, 56, shard["layer"])
    yield Target(shard["path"], 64, table_size, shard["layer"])


def targets(store):
    """All of a store's."""
    manifest = json.loads((store / "manifest.json").read_bytes())
    found = [Target("manifest.json", 0, (store / "manifest.json").stat().st_size)]
    found += [Target(file["path"], 0, file["size"]) for file in manifest["side"]]
    for shard in manifest["shards"]:
        found += chunk_targets(store, shard)
    return found


class Trace:
    """The reads of one run, out of the log of read_faults.c."""

    def __init__(self, path, store):
        self.reads = {}  # path within the store -> [(is disturbed, offset, size)], in their order
        self.disturbed = 0
        for line in path.read_text().splitlines() if path.exists() else []:
            state, offset, size, file = line.split(" ", 3)
            name = file.removeprefix(f"{store}/")
            self.reads.setdefault(name, []).append((state == "disturbed", int(offset), int(size)))
            self.disturbed += state == "disturbed"

    def count(self, path, byte):
        """How often a byte was read."""
        return sum(offset <= byte < offset + size for _, offset, size in self.reads.get(path, []))

    def count_after(self, path, byte):
        """How often it was read, undisturbed, after it had been disturbed for the last time."""
        later = 0
        for is_disturbed, offset, size in self.reads.get(path, []):
            if offset <= byte < offset + size:
                later = 0 if is_disturbed else later + 1
        return later
