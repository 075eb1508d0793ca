import TensorCore

/// Builds files as torch.save writes them.
public enum TorchCheckpoint {
    /// A view of a storage.
    public struct Tensor: Sendable {
        public var name: String
        /// `Half` of `HalfStorage`.
        public var type: String
        public var key: String
        /// Elements of the storage.
        public var count: Int
        public var offset: Int
        public var shape: [Int]
        /// `nil`: contiguous.
        public var stride: [Int]?

        public init(
            _ name: String, _ type: String, key: String, count: Int, offset: Int = 0, shape: [Int],
            stride: [Int]? = nil
        ) {
            self.name = name
            self.type = type
            self.key = key
            self.count = count
            self.offset = offset
            self.shape = shape
            self.stride = stride
        }

        public var strides: [Int] {
            if let stride { return stride }
            var strides = [Int](repeating: 1, count: shape.count)
            for index in shape.indices.dropLast().reversed() { strides[index] = strides[index + 1] * shape[index + 1] }
            return strides
        }

        /// Its persistent id. In streams it has a sixth element.
        public func storage(view: PickleNode? = nil) -> PickleNode {
            .persistent(
                .tuple(
                    [
                        .text("storage"), .global("torch", type + "Storage"), .text(key), .text("cpu"), .integer(count),
                    ] + (view.map { [$0] } ?? [])))
        }

        /// How torch pickles it.
        public func node(view: PickleNode? = nil) -> PickleNode {
            .call(
                "torch._utils", "_rebuild_tensor_v2",
                [
                    storage(view: view), .integer(offset), .tuple(shape.map { .integer($0) }),
                    .tuple(strides.map { .integer($0) }), .bool(false), .call("collections", "OrderedDict", []),
                ])
        }
    }

    public static func stateDict(_ tensors: [Tensor], view: PickleNode? = nil) -> PickleNode {
        .dictionary(tensors.map { (.text($0.name), $0.node(view: view)) })
    }

    /// The entries of an archive that holds `pickle` and `storages`.
    public static func entries(
        _ pickle: [UInt8], _ storages: [(key: String, bytes: [UInt8])], byteOrder: String = "little"
    ) -> [ZipWriter.Entry] {
        var entries = [ZipWriter.Entry("m/data.pkl", pickle), ZipWriter.Entry("m/byteorder", Array(byteOrder.utf8))]
        entries += storages.map { ZipWriter.Entry("m/data/" + $0.key, $0.bytes) }
        entries.append(ZipWriter.Entry("m/version", Array("3\n".utf8)))
        for index in entries.indices {
            // As torch writes: sizes behind the data, which begins at a multiple of 64.
            entries[index].flags = 0x0808
            entries[index].padding = 20 + index
        }
        return entries
    }

    public static func archive(_ pickle: [UInt8], _ storages: [(key: String, bytes: [UInt8])]) -> [UInt8] {
        ZipWriter(entries(pickle, storages)).bytes
    }

    /// The stream that torch wrote before 1.6.
    public static func stream(
        _ pickle: [UInt8], _ storages: [(key: String, count: Int, bytes: [UInt8])], isLittleEndian: Bool = true,
        version: Int = 1001
    ) -> [UInt8] {
        let magic: [UInt8] = [
            0x80, 2, 0x8A, 10, 0x6C, 0xFC, 0x9C, 0x46, 0xF9, 0x20, 0x6A, 0xA8, 0x50, 0x19, UInt8(ascii: "."),
        ]
        let machine = PickleNode.dictionary([
            (.text("protocol_version"), .integer(1001)), (.text("little_endian"), .bool(isLittleEndian)),
            (.text("type_sizes"), .dictionary([(.text("short"), .integer(2)), (.text("int"), .integer(4))])),
        ])
        let head = magic + PickleNode.integer(version).pickled() + machine.pickled() + pickle
        let keys = PickleNode.list(storages.map { .text($0.key) }).pickled()
        return head + keys + storages.flatMap { littleEndian(UInt64($0.count)) + $0.bytes }
    }
}
