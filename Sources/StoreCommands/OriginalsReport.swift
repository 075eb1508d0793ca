import CommandLineSupport
import StoreWriter
import TensorCore

/// What became of originals, for people and for machines.
package enum OriginalsReport {
    package static func line(_ entry: OriginalsDeletion.Entry, isPreview: Bool = false) -> String {
        let name = escapedForDisplay(entry.path)
        switch entry.outcome {
        case .deleted(let bytes):
            return "\(isPreview ? "would delete" : "deleted") \(name), \(formattedBytes(bytes))"
        case .kept(let reason, _): return "\(isPreview ? "would keep" : "kept") \(name): \(escapedForDisplay(reason))"
        case .gone: return "gone before: \(name)"
        }
    }

    package static func json(_ entries: [OriginalsDeletion.Entry]) -> JSONValue {
        .array(
            entries.map { entry in
                var members: [(key: String, value: JSONValue)] = [("path", .string(entry.path))]
                switch entry.outcome {
                case .deleted(let bytes):
                    members += [("outcome", "deleted"), ("bytes", JSONValue(bytes))]
                case .kept(let reason, let isChanged):
                    members += [("outcome", "kept"), ("reason", .string(reason)), ("changed", .bool(isChanged))]
                case .gone: members.append(("outcome", "gone"))
                }
                if let digest = entry.digest { members.append(("sha256", .string(digest.description))) }
                return .object(JSONObject(members))
            })
    }

    package static func freedBytes(_ entries: [OriginalsDeletion.Entry]) -> UInt64 {
        entries.reduce(0) { if case .deleted(let bytes) = $1.outcome { $0 + bytes } else { $0 } }
    }

    /// Throws `.malformed` if an original stays because it is not what was converted: then somebody should look at it.
    package static func check(_ entries: [OriginalsDeletion.Entry], store: String) throws(LaminaError) {
        let changed = entries.filter { if case .kept(_, true) = $0.outcome { true } else { false } }
        guard let first = changed.first else { return }
        throw LaminaError(
            .malformed, first.path,
            "\(changed.count) original\(changed.count == 1 ? " is" : "s are") not what was converted, and kept",
            hint: "the store \(store) is whole; compare the files with it, or convert them again")
    }
}
