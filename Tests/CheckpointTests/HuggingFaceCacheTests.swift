import Checkpoint
import Foundation
import Glibc
import TensorCore
import TestSupport
import Testing

/// Checkpoints by name, out of the cache of Hugging Face's tools.
@Suite struct HuggingFaceCacheTests {
    private static let main = String(repeating: "1a", count: 20)
    private static let other = "1a2b" + String(repeating: "0", count: 36)
    private static let pull = String(repeating: "c3", count: 20)

    /// A hub with `org/name` in three revisions, of which `other` has no reference, and what finds things in it.
    private struct Hub {
        var folder: String
        var repository: String { folder + "/models--org--name" }
        var cache: HuggingFaceCache { HuggingFaceCache(environment: ["HF_HUB_CACHE": folder]) }

        func path(_ source: String) throws(LaminaError) -> String {
            try cache.checkpointFolder(for: source, in: RealFileSystem())
        }

        func error(_ source: String) -> LaminaError? {
            do throws(LaminaError) {
                _ = try path(source)
                return nil
            } catch { return error }
        }

        func write(_ bytes: [UInt8], _ path: String) throws {
            let url = URL(fileURLWithPath: repository + "/" + path)
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(bytes).write(to: url)
        }

        func link(_ path: String, to blob: String) throws {
            try FileManager.default.createSymbolicLink(
                atPath: repository + "/" + path, withDestinationPath: "../../blobs/" + blob)
        }
    }

    private func withHub(_ body: (Hub) throws -> Void) throws {
        try Fixtures.withScratchFolder { folder in
            let hub = Hub(folder: folder)
            let weights = SyntheticCheckpoint.safetensors([.init(name: "a", dtype: .uint8, shape: [1], bytes: [1])])
            try hub.write(Array("{}".utf8), "blobs/config")
            try hub.write(weights, "blobs/weights")
            for commit in [Self.main, Self.other, Self.pull] {
                try FileManager.default.createDirectory(
                    atPath: hub.repository + "/snapshots/" + commit, withIntermediateDirectories: true)
                try hub.link("snapshots/\(commit)/config.json", to: "config")
                try hub.link("snapshots/\(commit)/model.safetensors", to: "weights")
            }
            try hub.write(Array(Self.main.utf8), "refs/main")
            try hub.write(Array((Self.pull + "\n").utf8), "refs/refs/pr/1")
            try body(hub)
        }
    }

    @Test func theEnvironmentSaysWhereTheCacheIs() {
        func path(_ environment: [String: String]) -> String? { HuggingFaceCache(environment: environment).path }
        var environment = ["PATH": "/bin"]
        #expect(path(environment) == nil)
        for (name, value, expected) in [
            ("HOME", "/h", "/h/.cache/huggingface/hub"), ("XDG_CACHE_HOME", "/x", "/x/huggingface/hub"),
            ("HF_HOME", "/f", "/f/hub"), ("HUGGINGFACE_HUB_CACHE", "/o", "/o"), ("HF_HUB_CACHE", "/c", "/c"),
        ] {
            environment[name] = value
            #expect(path(environment) == expected)
            #expect(path(environment.merging([name: ""]) { $1 }) != expected)
        }
        #expect(path(["HOME": "/h", "HF_HOME": "~/f"]) == "/h/f/hub")
        #expect(path(["HF_HUB_CACHE": "~/f"]) == "~/f")
    }

    @Test func namesRevisionsAndCommits() throws {
        try withHub { hub in
            for (source, commit) in [
                ("org/name", Self.main), ("org/name@main", Self.main), ("org/name@refs/pr/1", Self.pull),
                ("org/name@" + Self.other, Self.other), ("org/name@1a2b", Self.other), ("org/name@c3c3", Self.pull),
                (hub.repository, Self.main), (hub.repository + "/", Self.main),
            ] {
                let path = try hub.path(source)
                #expect(path.hasSuffix("/snapshots/" + commit), "\(source)")
                let checkpoint = try CheckpointFolder(path: path, in: RealFileSystem())
                #expect(checkpoint.files.map(\.name) == ["model.safetensors"])
            }
            let snapshot = hub.repository + "/snapshots/" + Self.pull
            #expect(try hub.path(snapshot) == snapshot)
            // A repository without an owner.
            rename(hub.repository, hub.folder + "/models--gpt2")
            #expect(try hub.path("gpt2") == hub.folder + "/models--gpt2/snapshots/" + Self.main)
        }
    }

    /// What exists is a path, whatever it looks like; what cannot be a repository's name is one too.
    @Test func pathsWin() throws {
        try withHub { hub in
            let folder = hub.folder + "/org/name@main"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            #expect(try hub.path(folder) == folder)
            for source in [
                "/no/such", "./org/name", "../org/name", "org/name/", "a/b/c", "org/..", "..", "-org/name", "org/.name",
                "org//name", "", "org/na me", "org/n\u{e4}me", "org/name\0", "a--b/c", "org/name.git", "org\\name",
                "~/m",
                String(repeating: "a", count: 97),
            ] {
                #expect(try hub.path(source) == source)
            }
        }
    }

    @Test func whatIsNotThereIsNamedWithWhatIs() throws {
        try withHub { hub in
            let absent = hub.error("other/name")
            #expect(absent?.kind == .missing)
            #expect(absent?.problem == "no such folder, and no such repository in the Hugging Face cache")
            #expect(absent?.expected == hub.folder + "/models--other--name")
            #expect(absent?.hint == "download it: hf download other/name")
            let revision = hub.error("org/name@v2.0")
            #expect(revision?.kind == .missing)
            #expect(revision?.subject == hub.repository)
            #expect(revision?.problem.contains("has no revision v2.0 of org/name") == true)
            for text in ["main", "refs/pr/1", Self.main, Self.other] {
                #expect(revision?.expected?.contains(text) == true)
            }
            #expect(revision?.hint == "download it: hf download org/name --revision v2.0")
            #expect(hub.error("org/name@1a1a") == nil)
            #expect(hub.error("org/name@1a")?.kind == .missing, "two digits are no commit")
            #expect(hub.error("org/name@ffff")?.kind == .missing)
            try hub.write([], "snapshots/1a2b\(String(repeating: "1", count: 36))/config.json")
            let ambiguous = hub.error("org/name@1a2b")
            #expect(ambiguous?.kind == .usage)
            #expect(ambiguous?.expected?.contains(Self.other) == true)
            try FileManager.default.removeItem(atPath: hub.repository + "/snapshots/" + Self.main)
            #expect(hub.error("org/name")?.problem.contains("lacks the files of revision main") == true)
            try FileManager.default.removeItem(atPath: hub.repository + "/refs")
            #expect(hub.error("org/name")?.problem.contains("has no revision main") == true)
            let nowhere = #expect(throws: LaminaError.self) {
                try HuggingFaceCache(environment: [:]).checkpointFolder(for: "org/name", in: RealFileSystem())
            }
            #expect(nowhere?.hint?.contains("HF_HOME") == true)
        }
    }

    /// Neither revisions nor what references hold lead out of the repository.
    @Test func namesNeverBecomePathsUnchecked() throws {
        try withHub { hub in
            for revision in [
                "", ".", "..", "../main", "a/../b", "/main", "main/", "a//b", "-x", ".x", "a b", "a\u{0}", "a\\b", "é",
                "main@main", String(repeating: "a", count: 256),
            ] {
                #expect(hub.error("org/name@" + revision)?.kind == .usage, "\(revision)")
            }
            for text in [
                "", "../../../../etc", "main", Self.main.uppercased(), Self.main + "0", String(Self.main.dropLast()),
                Self.main + "/..", Self.main + "\0", String(repeating: "a", count: 100_000), " \n",
                Self.main + " " + Self.pull,
            ] {
                try hub.write(Array(text.utf8), "refs/main")
                let error = hub.error("org/name")
                #expect(error?.kind == .malformed, "\(text.prefix(80))")
                #expect(error?.subject == hub.repository + "/refs/main")
            }
            unlink(hub.repository + "/refs/main")
            mkfifo(hub.repository + "/refs/main", 0o600)
            #expect(hub.error("org/name")?.kind == .missing)
        }
    }

    @Test func incompleteSnapshotsAreSaid() throws {
        try withHub { hub in
            func error() -> LaminaError? {
                do throws(LaminaError) {
                    _ = try CheckpointFolder(path: hub.path("org/name"), in: RealFileSystem())
                    return nil
                } catch { return error }
            }
            #expect(error() == nil)
            try hub.write([1, 2], "blobs/abc.incomplete")
            #expect(error() == nil, "some other file of the repository")
            let snapshot = hub.repository + "/snapshots/" + Self.main
            for name in ["model.safetensors", "config.json"] {
                let target = try FileManager.default.destinationOfSymbolicLink(atPath: snapshot + "/" + name)
                unlink(snapshot + "/" + name)
                let found = error()
                #expect(found?.kind == .missing)
                #expect(found?.problem.contains("the snapshot is incomplete, and the cache holds 1 unfinished") == true)
                #expect(found?.hint == "finish the download: hf download org/name --revision " + Self.main)
                symlink(target, snapshot + "/" + name)
            }
            unlink(hub.repository + "/blobs/weights")
            let dangling = error()
            #expect(dangling?.kind == .missing)
            #expect(dangling?.subject == snapshot + "/model.safetensors")
            #expect(dangling?.problem.contains("incomplete") == true)
        }
    }
}
