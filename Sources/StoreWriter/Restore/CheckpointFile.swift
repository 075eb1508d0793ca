import LayerStore
import TensorCore

/// One file of a checkpoint that is made from a store.
public struct CheckpointFile: Sendable {
    /// A plain file name.
    public let name: String
    /// Bytes.
    public let size: UInt64
    let content: Content
    /// What the whole file's must be, where it is known beforehand.
    let digest: SHA256Digest?

    enum Content: Sendable {
        case small(SmallBytes)
        /// Tensors, and the bytes between them in order.
        case weights(WeightFileLayout, other: SmallBytes)
    }

    /// Bytes that fit in memory.
    enum SmallBytes: Sendable {
        /// A side file by its path below `side/`.
        case sideFile(String)
        case bytes([UInt8])

        /// Enough for every side file that conversion keeps: headers are the largest, up to 100 MB behind a length.
        private static let limit = 100_000_008

        /// Throws `.damaged` if the store's file is not what the manifest says.
        func load(from store: Store) throws(LaminaError) -> [UInt8] {
            switch self {
            case .bytes(let bytes): return bytes
            case .sideFile(let name):
                guard let bytes = try store.sideFile(name, limit: SmallBytes.limit) else {
                    throw LaminaError(.malformed, store.path, "the manifest does not list side/\(name)")
                }
                return bytes
            }
        }
    }

    /// Why `name` cannot be that of a file written beside others, or `nil`: it must be one plain, visible component.
    static func problem(withName name: String) -> String? {
        let bytes = Array(name.utf8)
        if bytes.isEmpty { return "is empty" }
        if bytes.count > 200 { return "is longer than 200 bytes" }
        if bytes[0] == UInt8(ascii: ".") { return "begins with a dot" }
        let isPlain = name.unicodeScalars.allSatisfy {
            $0.value >= 0x20 && !(0x7F...0x9F).contains($0.value) && $0 != "/" && $0 != "\\"
        }
        return isPlain ? nil : "holds a separator or a control character"
    }

    /// Throws `.malformed` about `manifest` if a name is not plain, or there twice.
    static func checkNames(_ files: [CheckpointFile], manifest: String) throws(LaminaError) {
        var seen: Set<[UInt8]> = []
        for file in files {
            if let problem = problem(withName: file.name) {
                throw LaminaError(.malformed, manifest, "the file name \"\(file.name)\" \(problem)")
            }
            guard seen.insert(Array(file.name.utf8)).inserted else {
                throw LaminaError(.malformed, manifest, "two files are called \"\(file.name)\"")
            }
        }
    }
}

/// A file that is there, complete and checked.
public struct FinishedFile: Sendable, Equatable {
    public var name: String
    /// Bytes.
    public var size: UInt64
    /// Of the whole file.
    public var digest: SHA256Digest
    /// Whether it was there before, with these very bytes.
    public var wasThere: Bool
}
