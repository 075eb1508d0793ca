import TensorCore

/// The folder of the originals, opened once, and the rules that decide what may be removed from it.
struct OriginalsFolder {
    /// What is to happen to an original.
    enum Decision: Equatable {
        /// It goes; so many bytes become free.
        case delete(bytes: UInt64)
        /// It stays. `isChanged`: because it is not what was converted, rather than by a rule.
        case keep(reason: String, isChanged: Bool)
        /// An interrupted deletion removed its bytes and left the link to them.
        case finish
        /// It is not there any more.
        case gone
    }

    private let folder: OpenFolder
    /// Where a snapshot of a Hugging Face cache keeps its files' bytes; `nil` for other folders.
    private let blobs: OpenFolder?
    /// The cached repository, with `blobs` and `snapshots` in it.
    private let repository: String
    private let fileSystem: any FileSystem
    private let deletesBlobs: Bool

    /// Opens `path`, which is absolute and was without links when it was recorded. Throws `.missing` if it is not there,
    /// `.malformed` if a part of it is a link now, `.io`.
    init(_ path: String, deletesBlobs: Bool, in fileSystem: any FileSystem) throws(LaminaError) {
        self.fileSystem = fileSystem
        self.deletesBlobs = deletesBlobs
        guard case .success(let canonical) = fileSystem.canonicalPath(path) else {
            throw LaminaError(.missing, path, "the folder of the originals is not there")
        }
        guard canonical.utf8.elementsEqual(path.utf8) else {
            throw LaminaError(
                .malformed, path, "the folder of the originals is reached through a link now", found: canonical,
                hint: "nothing was deleted; look at what was moved there")
        }
        folder = try OpenFolder(path, in: fileSystem)
        let parts = path.split(separator: "/")
        let isSnapshot = parts.count >= 3 && parts[parts.count - 2] == "snapshots"
        repository = isSnapshot ? "/" + parts.dropLast(2).joined(separator: "/") : ""
        blobs = isSnapshot ? try? OpenFolder(repository + "/blobs", in: fileSystem) : nil
    }

    // MARK: Rules

    /// What may happen to `file`, by all that can be seen without reading it. Throws `.io`.
    func decide(_ file: OriginalsRecord.File) throws(LaminaError) -> Decision {
        guard let target = file.target else {
            guard let facts = try folder.facts(of: file.path) else { return .gone }
            return decide(facts, file)
        }
        return try decide(link: file, target: target)
    }

    private func decide(_ facts: FileFacts, _ file: OriginalsRecord.File) -> Decision {
        guard facts.isRegular else { return .keep(reason: "not a regular file any more", isChanged: true) }
        if facts.links != 1 {
            return .keep(
                reason: "has \(facts.links) names (hard links): removing one would free nothing", isChanged: false)
        }
        if let difference = file.identity.difference(to: OriginalsRecord.Identity(facts)) {
            return .keep(reason: difference, isChanged: true)
        }
        return .delete(bytes: facts.size)
    }

    /// A link goes only together with what it stands for, and that only if it is a blob of the same cached repository
    /// that no other snapshot refers to.
    private func decide(link file: OriginalsRecord.File, target: String) throws(LaminaError) -> Decision {
        let name = String(target.split(separator: "/").last ?? "")
        guard let blobs, target.utf8.elementsEqual((blobs.path + "/" + name).utf8) else {
            return .keep(reason: "a link to \(target), which is not this folder's own", isChanged: false)
        }
        let link = try folder.facts(of: file.path)
        guard let facts = try blobs.facts(of: name) else {
            guard let link else { return .gone }
            return file.state == .deleting && link.isSymbolicLink
                ? .finish : .keep(reason: "a link whose file is gone", isChanged: true)
        }
        if let link {
            let leadsThere = fileSystem.canonicalPath(folder.path + "/" + file.path) == .success(target)
            guard link.isSymbolicLink, leadsThere else {
                return .keep(reason: "replaced by another file since it was converted", isChanged: true)
            }
        }
        guard deletesBlobs else {
            return .keep(
                reason: "a link into a Hugging Face cache: --delete-blobs removes the file it stands for, too",
                isChanged: false)
        }
        if let other = try otherReference(to: target, than: file.path) {
            return .keep(reason: "its blob is shared with \(other)", isChanged: false)
        }
        return decide(facts, file)
    }

    /// Another link of the cached repository to the same blob. Throws `.io`.
    private func otherReference(to target: String, than name: String) throws(LaminaError) -> String? {
        let own = folder.path + "/" + name
        var pending = [repository + "/snapshots"]
        while let path = pending.popLast() {
            for entry in try fileSystem.names(in: path) {
                let location = path + "/" + entry
                guard case .success(let facts) = fileSystem.facts(at: location, followLinks: false) else { continue }
                if facts.isDirectory { pending.append(location) }
                guard facts.isSymbolicLink, !location.utf8.elementsEqual(own.utf8) else { continue }
                if fileSystem.canonicalPath(location) == .success(target) { return location }
            }
        }
        return nil
    }

    /// What holds the file's bytes now, if it is there: for a link, the blob it was a link to. Throws `.io`.
    func facts(of file: OriginalsRecord.File) throws(LaminaError) -> FileFacts? {
        guard let target = file.target, let blobs else { return try folder.facts(of: file.path) }
        return try blobs.facts(of: String(target.split(separator: "/").last ?? ""))
    }

    // MARK: Removing

    /// Opens what `file` names for reading, never through a link. Throws `.missing`, `.io`.
    func open(_ file: OriginalsRecord.File) throws(LaminaError) -> OpenFile {
        guard let target = file.target, let blobs else { return try folder.open(file.path, .read) }
        return try blobs.open(String(target.split(separator: "/").last ?? ""), .read)
    }

    /// Removes the file, a link's blob included, durably. Throws `.io`.
    func remove(_ file: OriginalsRecord.File) throws(LaminaError) {
        // The blob first: a link without a blob is told from a file that was never there.
        if let target = file.target, let blobs {
            try blobs.remove(String(target.split(separator: "/").last ?? ""))
            try blobs.sync()
        }
        try folder.remove(file.path)
        try folder.sync()
    }
}
