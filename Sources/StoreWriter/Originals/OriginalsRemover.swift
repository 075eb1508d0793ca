import Glibc
import LayerStore
import TensorCore

/// What became of one original when it was to be deleted.
public enum OriginalOutcome: Sendable, Equatable {
    /// So many bytes are free now, or would be.
    case deleted(bytes: UInt64)
    /// It stays. `isChanged`: because it is not what was converted, rather than by a rule.
    case kept(reason: String, isChanged: Bool)
    /// It was gone before.
    case gone
}

/// Removes originals one at a time: what it is to remove it has read once more and found equal to what the store holds,
/// and said so in the durable record first.
struct OriginalsRemover {
    private let storePath: String
    private let folder: OriginalsFolder
    private let fileSystem: any FileSystem
    private(set) var record: OriginalsRecord

    /// For the originals of the store at `storePath`. Throws `.missing`, `.malformed`, `.io`, and `.cannotCreate` if the
    /// store is in the originals' folder or around it.
    init(
        _ record: OriginalsRecord, storePath: String, deletesBlobs: Bool, in fileSystem: any FileSystem
    ) throws(LaminaError) {
        self.record = record
        self.storePath = storePath
        self.fileSystem = fileSystem
        folder = try OriginalsFolder(record.folder, deletesBlobs: deletesBlobs, in: fileSystem)
        try checkSeparation()
    }

    private func checkSeparation() throws(LaminaError) {
        guard case .success(let store) = fileSystem.canonicalPath(storePath) else {
            throw LaminaError(.missing, storePath, "no such folder")
        }
        let nested = (store + "/").utf8.starts(with: (record.folder + "/").utf8)
        let around = (record.folder + "/").utf8.starts(with: (store + "/").utf8)
        guard !nested, !around else {
            throw LaminaError(
                .cannotCreate, storePath, "the store and its originals must be in separate folders",
                found: record.folder)
        }
    }

    /// Fails if one of the store's own files leads to an original. Throws `.malformed`, `.io`.
    func checkIndependence(_ paths: [String]) throws(LaminaError) {
        var originals: [[UInt64]] = []
        // The inode of one that is gone may be a file of the store by now.
        for (index, file) in record.files.enumerated() where try preview(index) != .gone {
            originals.append([file.identity.device, file.identity.inode])
        }
        for path in paths {
            let location = storePath + "/" + path
            guard case .success(let facts) = fileSystem.facts(at: location, followLinks: false), facts.isRegular,
                !originals.contains([facts.device, facts.inode])
            else {
                throw LaminaError(
                    .malformed, location, "a file of the store is a link, or one of the originals",
                    hint: "nothing was deleted; a store must own its files")
            }
        }
    }

    /// What would happen, by all that can be seen without reading the originals. Throws `.io`.
    func preview(_ index: Int) throws(LaminaError) -> OriginalOutcome {
        let file = record.files[index]
        if file.state == .deleted { return .gone }
        return switch try folder.decide(file) {
        case .delete(let bytes): .deleted(bytes: bytes)
        case .finish: .deleted(bytes: 0)
        case .keep(let reason, let isChanged): .kept(reason: reason, isChanged: isChanged)
        case .gone: .gone
        }
    }

    /// Reads original `index` and compares it with `contents`; if it may go, it is marked so. `.deleted` means: ready to
    /// be. The record is not written yet. Throws `.io`, and what `progress` throws.
    mutating func prepare(
        _ index: Int, _ contents: OriginalContents, progress: (Int) throws(LaminaError) -> Void
    ) throws(LaminaError) -> OriginalOutcome {
        let outcome = try preview(index)
        guard case .deleted(let bytes) = outcome, bytes > 0 || record.files[index].state == .present else {
            if outcome == .gone { mark(index, .deleted) }
            return outcome
        }
        do throws(LaminaError) {
            let file = try folder.open(record.files[index])
            try checkIdentity(of: file, index)
            let digest = try contents.check(file, progress: progress)
            // Nobody wrote to it while it was read.
            try checkIdentity(of: file, index)
            record.files[index].digest = digest
        } catch {
            guard error.kind == .malformed else { throw error }
            return .kept(reason: error.problem, isChanged: true)
        }
        mark(index, .deleting)
        return outcome
    }

    private func checkIdentity(of file: OpenFile, _ index: Int) throws(LaminaError) {
        let facts = try file.facts()
        let difference = record.files[index].identity.difference(to: OriginalsRecord.Identity(facts))
        if let difference { throw LaminaError(.malformed, file.path, difference) }
    }

    private mutating func mark(_ index: Int, _ state: OriginalsRecord.State) {
        record.files[index].state = state
        record.files[index].time = time(nil)
    }

    /// Removes a prepared original whose intent is durable. Throws `.io`.
    mutating func remove(_ index: Int) throws(LaminaError) -> OriginalOutcome {
        let outcome = try preview(index)
        switch outcome {
        case .deleted: try folder.remove(record.files[index])
        case .gone: break
        case .kept:
            mark(index, .present)
            return outcome
        }
        mark(index, .deleted)
        return outcome
    }

    /// Writes the record. Throws `.io`, `.cannotCreate`.
    func writeRecord() throws(LaminaError) { try record.write(to: storePath, fileSystem) }
}
