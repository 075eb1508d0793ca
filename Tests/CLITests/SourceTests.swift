import Foundation
import TestSupport
import Testing

/// Where `lamina-convert` finds checkpoints, what it says of them, and what hostile ones cost it.
@Suite struct SourceTests {
    private static let commit = String(repeating: "0f", count: 20)

    /// A cache with the golden checkpoint `model` as `org/name`, laid out as Hugging Face's tools do.
    private func makeHub(_ model: String, in folder: String) throws -> String {
        let manager = FileManager.default
        let repository = folder + "/hub/models--org--name"
        for path in ["/blobs", "/refs", "/snapshots/" + Self.commit] {
            try manager.createDirectory(atPath: repository + path, withIntermediateDirectories: true)
        }
        let source = Fixtures.path("models/" + model)
        for name in try manager.contentsOfDirectory(atPath: source) {
            try manager.copyItem(atPath: source + "/" + name, toPath: repository + "/blobs/" + name)
            try manager.createSymbolicLink(
                atPath: "\(repository)/snapshots/\(Self.commit)/\(name)", withDestinationPath: "../../blobs/" + name)
        }
        try Data(Self.commit.utf8).write(to: URL(fileURLWithPath: repository + "/refs/main"))
        return repository
    }

    @Test func checkpointsHaveNames() throws {
        try Fixtures.withScratchFolder { folder in
            let repository = try makeHub("llama2-gqa", in: folder)
            let environment = ["HF_HUB_CACHE": folder + "/hub"]
            var digests: Set<String> = []
            for (index, source) in ["org/name", "org/name@0f0f", repository].enumerated() {
                let store = "\(folder)/store\(index)"
                let result = try json("convert", [source, store, "--json", "--quiet"], environment: environment)
                digests.insert(try #require(result["root_digest"] as? String))
            }
            let plain = try json(
                "convert", [Fixtures.path("models/llama2-gqa"), folder + "/plain", "--json", "--quiet"])
            #expect(digests == [try #require(plain["root_digest"] as? String)])
            for (source, status, text) in [
                ("org/other", Int32(66), "hint: download it: hf download org/other"),
                ("org/name@v1", 66, "one of main, " + Self.commit), ("org/name@../main", 64, "cannot exist"),
                ("/org/name", 66, "no such folder"),
            ] {
                let result = try Tool.run("convert", [source, folder + "/none"], environment: environment)
                #expect(result.status == status, "\(result.standardError)")
                #expect(result.standardError.contains(text), "\(result.standardError)")
            }
            try FileManager.default.removeItem(atPath: repository + "/blobs/model.safetensors")
            let partly = try Tool.run("convert", ["org/name", folder + "/none"], environment: environment)
            #expect(partly.status == 66)
            #expect(partly.standardError.contains("the snapshot is incomplete"), "\(partly.standardError)")
            #expect(!FileManager.default.fileExists(atPath: folder + "/none"))
        }
    }

    /// Case 19: the config decides, and what contradicts it is told.
    @Test func tiesThatAreNoneAreSaid() throws {
        try Fixtures.withScratchFolder { folder in
            var sizes = SyntheticCheckpoint.LlamaSizes()
            let note = "lm_head.weight differs from model.embed_tokens.weight"
            func convert(_ name: String) throws -> ProcessResult {
                try Tool.run("convert", [folder + "/" + name, folder + "/\(name).lamina", "--threads", "1"])
            }
            func claim(_ isTied: Bool, _ name: String) throws {
                let path = folder + "/\(name)/config.json"
                let text = try String(contentsOfFile: path, encoding: .utf8)
                let changed = text.replacing(
                    "\"tie_word_embeddings\":\(!isTied)", with: "\"tie_word_embeddings\":\(isTied)")
                try #require(changed != text)
                try changed.write(toFile: path, atomically: true, encoding: .utf8)
            }
            // Two matrices, said to be one.
            try SyntheticCheckpoint.writeLlama(sizes, to: folder + "/two")
            try claim(true, "two")
            let two = try convert("two")
            #expect(two.status == 0, "\(two.standardError)")
            #expect(two.standardError.contains("note: " + note), "\(two.standardError)")
            let kept = try json("convert", ["inspect", folder + "/two.lamina", "--layer", "unused", "--json"])
            #expect("\(kept)".contains("lm_head.weight"))
            // One matrix, said to be two.
            sizes.isTied = true
            try SyntheticCheckpoint.writeLlama(sizes, to: folder + "/one")
            try claim(false, "one")
            let one = try convert("one")
            #expect(one.status == 65)
            #expect(one.standardError.contains("lm_head.weight"), "\(one.standardError)")
            // The same matrix twice is no contradiction.
            var generator = SeededGenerator(seed: 7)
            let head = SyntheticCheckpoint.Tensor(
                name: "lm_head.weight", dtype: .bfloat16, shape: [sizes.vocabulary, sizes.hidden],
                bytes: SyntheticCheckpoint.weights(
                    sizes.vocabulary * sizes.hidden, dtype: .bfloat16, using: &generator))
            try SyntheticCheckpoint.writeLlama(sizes, to: folder + "/same", more: [head])
            let same = try convert("same")
            #expect(same.status == 0)
            #expect(!same.standardError.contains(note), "\(same.standardError)")
        }
    }

    /// Cases 10 and 11: the largest headers, made of what costs most, within four times their size above what the
    /// program takes at all (`limit`, in KiB).
    @Test(arguments: ["one range", "a value of 50 MB", "one list"])
    func theLargestHeadersStaySmall(_ kind: String) throws {
        var header = Array("{".utf8)
        switch kind {
        case "one range":
            let entry = Array("\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},".utf8)
            header.reserveCapacity(95_000_000)
            for number in 0..<1_600_000 {
                header.append(UInt8(ascii: "\""))
                for shift in stride(from: 20, through: 0, by: -4) { header.append(65 + UInt8(number >> shift & 15)) }
                header += entry
            }
        case "a value of 50 MB":
            header += Array("\"__metadata__\":{\"a\":\"".utf8) + [UInt8](repeating: 120, count: 50_000_000)
            header += Array("\"}}".utf8)
        default:
            header += Array("\"a\":{\"dtype\":\"U8\",\"shape\":[".utf8)
            header += [UInt8](repeating: UInt8(ascii: "["), count: 95_000_000)
        }
        try Fixtures.withScratchFolder { folder in
            try Data("{}".utf8).write(to: URL(fileURLWithPath: folder + "/config.json"))
            let file = SyntheticCheckpoint.file(header: header, data: [0])
            try Data(file).write(to: URL(fileURLWithPath: folder + "/model.safetensors"))
            let limit = 400_000 + 4 * header.count / 1024
            let command = "ulimit -v \(limit); exec \(Tool.folder.path)/lamina-convert \(folder) \(folder)x"
            let result = try Tool.run(executable: "/bin/bash", ["-c", command])
            #expect(result.status == 65, "\(result.standardError)")
            #expect(result.standardError.utf8.count < 2000)
        }
    }
}
