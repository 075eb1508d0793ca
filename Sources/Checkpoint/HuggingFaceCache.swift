import TensorCore

/// The cache in which Hugging Face's tools keep what they downloaded, read and never written; nothing here uses a
/// network.
///
/// Layout: `models--ORG--NAME/refs/REVISION` holds a commit, `snapshots/COMMIT/` its files as links into `blobs/`
/// (https://huggingface.co/docs/huggingface_hub/guides/manage-cache).
public struct HuggingFaceCache: Sendable {
    /// Environment variables that say where the cache is, the strongest first; the second is deprecated.
    public static let variables = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"]
    /// A reference is a commit's 40 digits, and maybe a line feed.
    static let maximumReferenceBytes = 64
    /// The fewest digits that name a commit, as in git.
    static let minimumPrefixDigits = 4
    /// Revisions a message lists.
    private static let listedRevisions = 12

    /// The folder with the repositories; `nil` if the environment does not say where homes are.
    public let path: String?

    /// Decides by `environment`, of which only `variables` are looked at; empty values count as unset.
    public init(environment: [String: String]) {
        func value(_ name: String) -> String? {
            guard let text = environment[name], !text.isEmpty else { return nil }
            guard text == "~" || text.hasPrefix("~/"), let home = environment["HOME"], !home.isEmpty else {
                return text
            }
            return home + text.dropFirst()
        }
        if let hub = value("HF_HUB_CACHE") ?? value("HUGGINGFACE_HUB_CACHE") {
            path = hub
        } else if let home = value("HF_HOME") {
            path = home + "/hub"
        } else if let caches = value("XDG_CACHE_HOME") ?? value("HOME").map({ $0 + "/.cache" }) {
            path = caches + "/huggingface/hub"
        } else {
            path = nil
        }
    }

    /// The folder with the checkpoint that `source` means: `source` itself if there is such a folder, or the snapshot of
    /// its main revision if it is a repository of the cache; else what the cache has of `ORG/NAME[@REVISION]`.
    ///
    /// Throws `.missing` if the cache lacks it, `.usage` for a revision that cannot be one or means several,
    /// `.malformed` for a broken cache, `.io`.
    public func checkpointFolder(for source: String, in fileSystem: any FileSystem) throws(LaminaError) -> String {
        if try fileSystem.exists(source) {
            let repository = CachedRepository(path: source, in: fileSystem)
            return repository.isRepository ? try repository.snapshot(of: nil) : source
        }
        guard let name = try RepositoryName(source) else { return source }
        guard let path else {
            throw LaminaError(
                .missing, source, "no such folder, and no Hugging Face cache to look in",
                hint: "set HF_HUB_CACHE, HF_HOME or HOME")
        }
        let repository = CachedRepository(path: path + "/" + name.folderName, identifier: name.text, in: fileSystem)
        guard fileSystem.isFolder(repository.path) else {
            throw LaminaError(
                .missing, source, "no such folder, and no such repository in the Hugging Face cache",
                expected: repository.path, hint: "download it: \(repository.download(name.revision))")
        }
        return try repository.snapshot(of: name.revision)
    }

    /// `error`, said of a checkpoint folder, with what helps if that is a snapshot of which something is missing.
    static func explained(_ error: LaminaError, folder: String, in fileSystem: any FileSystem) -> LaminaError {
        guard error.kind == .missing, case .success(let canonical) = fileSystem.canonicalPath(folder) else {
            return error
        }
        let parts = canonical.split(separator: "/")
        guard parts.count >= 3, parts[parts.count - 2] == "snapshots", let commit = parts.last else { return error }
        let path = "/" + parts.dropLast(2).joined(separator: "/")
        let repository = CachedRepository(path: path, in: fileSystem)
        let blobs = (try? fileSystem.names(in: path + "/blobs")) ?? []
        let unfinished = blobs.count { $0.hasSuffix(".incomplete") }
        var explained = error
        explained.problem += "; the snapshot is incomplete"
        if unfinished > 0 { explained.problem += ", and the cache holds \(unfinished) unfinished downloads for it" }
        explained.hint = "finish the download: \(repository.download(String(commit)))"
        return explained
    }

    /// One repository of the cache.
    private struct CachedRepository {
        let path: String
        let identifier: String
        private let fileSystem: any FileSystem

        init(path: String, identifier: String? = nil, in fileSystem: any FileSystem) {
            self.path = path
            self.fileSystem = fileSystem
            let canonical = (try? fileSystem.canonicalPath(path).get()) ?? path
            let parts = (canonical.split(separator: "/").last.map(String.init) ?? "").split(separator: "--")
            self.identifier = identifier ?? (parts.count > 1 ? parts.dropFirst().joined(separator: "/") : "ORG/NAME")
        }

        /// A folder of snapshots that is no checkpoint itself.
        var isRepository: Bool {
            guard case .failure = fileSystem.facts(at: path + "/config.json", followLinks: false) else { return false }
            return fileSystem.isFolder(path + "/snapshots")
        }

        /// The command that downloads a revision.
        func download(_ revision: String?) -> String {
            "hf download \(identifier)" + (revision.map { " --revision \($0)" } ?? "")
        }

        /// The folder of a revision, by default of `main`: a reference's, or that of a commit by its first digits.
        func snapshot(of revision: String?) throws(LaminaError) -> String {
            let wanted = revision ?? "main"
            let snapshots = try names("snapshots").filter(RepositoryName.isCommit)
            let commits: [String]
            if let commit = try commit(of: wanted) {
                commits = [commit]
            } else {
                let isPrefix =
                    wanted.utf8.count >= minimumPrefixDigits && wanted.utf8.allSatisfy(RepositoryName.isDigit)
                commits = isPrefix ? snapshots.filter { $0.hasPrefix(wanted) } : []
            }
            guard commits.count <= 1 else {
                throw LaminaError(
                    .usage, identifier + "@" + wanted, "these digits begin several commits",
                    expected: commits.prefix(listedRevisions).joined(separator: ", "))
            }
            guard let commit = commits.first else { throw missing(revision, snapshots, "has no revision \(wanted)") }
            guard fileSystem.isFolder(path + "/snapshots/" + commit) else {
                throw missing(revision, snapshots, "lacks the files of revision \(wanted), commit \(commit),")
            }
            return path + "/snapshots/" + commit
        }

        private func missing(_ revision: String?, _ snapshots: [String], _ what: String) -> LaminaError {
            let known = references("refs", depth: 0) + snapshots
            let more = known.count > listedRevisions ? ", …" : ""
            return LaminaError(
                .missing, path, "the Hugging Face cache \(what) of \(identifier)",
                expected: known.isEmpty
                    ? nil : "one of " + known.prefix(listedRevisions).joined(separator: ", ") + more,
                hint: "download it: \(download(revision))")
        }

        /// What a reference says, `nil` if there is none of this name.
        private func commit(of reference: String) throws(LaminaError) -> String? {
            let location = path + "/refs/" + reference
            guard case .success(let facts) = fileSystem.facts(at: location, followLinks: true), facts.isRegular else {
                return nil
            }
            let bytes = try fileSystem.readWhole(location, limit: maximumReferenceBytes)
            let text = String(decoding: bytes, as: UTF8.self)
            let commit = text.split(omittingEmptySubsequences: true, whereSeparator: \.isWhitespace).first
            guard let commit, RepositoryName.isCommit(String(commit)),
                text.utf8.allSatisfy({ RepositoryName.isDigit($0) || $0 == 0x0A || $0 == 0x0D || $0 == 0x20 })
            else {
                throw LaminaError(
                    .malformed, location, "the reference is no commit", expected: "40 hexadecimal digits",
                    hint: "download again: \(download(reference))")
            }
            return String(commit)
        }

        private func names(_ folder: String) throws(LaminaError) -> [String] {
            fileSystem.isFolder(path + "/" + folder) ? try fileSystem.names(in: path + "/" + folder) : []
        }

        /// The references below a folder, `main` and `refs/pr/1` alike.
        private func references(_ folder: String, depth: Int) -> [String] {
            guard depth < 4, let names = try? names(folder) else { return [] }
            return names.flatMap { name in
                let inner = folder + "/" + name
                let isFolder = fileSystem.isFolder(path + "/" + inner)
                return isFolder ? references(inner, depth: depth + 1) : [String(inner.dropFirst("refs/".count))]
            }
        }
    }
}

/// `ORG/NAME[@REVISION]`, or `NAME` for the few repositories without an owner: checked, since its parts become parts of
/// paths.
struct RepositoryName {
    /// Hugging Face's own limit.
    private static let maximumBytes = 96
    private static let maximumRevisionBytes = 255

    /// Without the revision.
    let text: String
    let revision: String?

    /// `nil` if `source` is nothing of the kind, so that it can only be a path. Throws `.usage` if only the revision is
    /// wrong.
    init?(_ source: String) throws(LaminaError) {
        let halves = source.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false)
        let text = String(halves[0])
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, text.utf8.count <= RepositoryName.maximumBytes,
            parts.allSatisfy({ RepositoryName.isPlain($0) && !$0.contains("--") && !$0.hasSuffix(".git") })
        else { return nil }
        self.text = text
        revision = halves.count > 1 ? String(halves[1]) : nil
        guard let revision else { return }
        let isGood = revision.split(separator: "/", omittingEmptySubsequences: false).allSatisfy(RepositoryName.isPlain)
        guard isGood, revision.utf8.count <= RepositoryName.maximumRevisionBytes else {
            throw LaminaError(
                .usage, source, "this revision cannot exist",
                expected: "a branch, a tag or a commit: letters, digits, '.', '_', '-' and '/'")
        }
    }

    /// The repository's folder in the cache.
    var folderName: String {
        "models--" + text.split(separator: "/").joined(separator: "--")
    }

    /// Letters, digits, `.`, `_` and `-`, not first or last but for `_`, and no `..`.
    private static func isPlain(_ part: Substring) -> Bool {
        let edges = [part.utf8.first, part.utf8.last]
        guard !part.isEmpty, !edges.contains(UInt8(ascii: ".")), !edges.contains(UInt8(ascii: "-")) else {
            return false
        }
        return !part.contains("..") && part.utf8.allSatisfy(PlainName.has)
    }

    /// Whether `text` is a whole commit.
    static func isCommit(_ text: String) -> Bool { text.utf8.count == 40 && text.utf8.allSatisfy(isDigit) }

    static func isDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }
}

extension FileSystem {
    /// Whether `path` is a folder or a link to one.
    fileprivate func isFolder(_ path: String) -> Bool {
        guard case .success(let facts) = facts(at: path, followLinks: true) else { return false }
        return facts.isDirectory
    }
}
