import Foundation
import TestSupport
import Testing

/// The golden files of formats/: what this version writes is what they hold, and every bad copy is told as stated.
@Suite struct GoldenStoreTests {
    /// Bytes to be put into a file.
    struct Patch: Decodable {
        var file: String
        var at: Int
        /// Base64 in the file.
        var bytes: Data
    }

    struct Case: Decodable, CustomTestStringConvertible {
        var name: String
        /// The golden store that it is a copy of; `nil` for the first.
        var store: String?
        var exit: Int32
        var says: String
        /// Whether `--decode` is what finds it.
        var decode: Bool?
        var manifest: String?
        var patches: [Patch]?
        var file: String?
        var flip: Int?
        var truncate: Int?
        var remove: Bool?
        var replace: String?
        var testDescription: String { name }
    }

    private static let golden = Fixtures.project.appendingPathComponent("formats/golden").path

    private static var cases: [Case] {
        guard let data = FileManager.default.contents(atPath: golden + "/cases.json") else { return [] }
        return (try? JSONDecoder().decode([Case].self, from: data)) ?? []
    }

    /// Shards and side files byte for byte; the manifest too, where the same library versions wrote it.
    @Test(arguments: [
        ("store", "checkpoint", []), ("exp-huf", "checkpoint", ["--codec", "exp-huf"]),
        ("raw", "checkpoint", ["--codec", "raw"]), ("torch", "torch-checkpoint", []),
        ("q4", "checkpoint", ["--quantize", "q4", "--keep", "*=q4"]),
        ("nf4-double", "checkpoint", ["--quantize", "nf4-double", "--keep", "*=nf4-double"]),
        ("int8-row", "checkpoint", ["--quantize", "int8-row", "--keep", "*=int8-row"]),
    ])
    func theFormatHasNotChanged(name: String, source: String, options: [String]) throws {
        let golden = GoldenStoreTests.golden + "/good/\(name).lamina"
        try Fixtures.withScratchFolder { folder in
            let store = try makeStore(GoldenStoreTests.golden + "/good/" + source, in: folder, options)
            let result = try Tool.run(
                executable: "/usr/bin/diff",
                ["-r", "--exclude=manifest.json", "--exclude=originals.json", golden, store])
            #expect(result.status == 0, "\(result.standardOutput)")
            let verified = try Tool.run("verify", [golden, "--decode"])
            #expect(verified.status == 0, "\(verified.standardOutput)")
            let generated = try greedy(golden, [1, 2, 3], count: 4)
            #expect(generated == (try greedy(store, [1, 2, 3], count: 4)))
            guard !options.contains("--quantize") else { return }
            #expect(generated == (try greedy(GoldenStoreTests.golden + "/good/store.lamina", [1, 2, 3], count: 4)))
        }
    }

    /// What tensors are stored as does not depend on the kind of file they came in.
    @Test func torchAndSafetensorsGiveTheSameShards() throws {
        let result = try Tool.run(
            executable: "/usr/bin/diff",
            [
                "-r", GoldenStoreTests.golden + "/good/store.lamina/layers",
                GoldenStoreTests.golden + "/good/torch.lamina/layers",
            ])
        #expect(result.status == 0, "\(result.standardOutput)")
    }

    @Test func thereAreCases() { #expect(GoldenStoreTests.cases.count > 50) }

    @Test(arguments: GoldenStoreTests.cases)
    func badStoresAreTold(_ bad: Case) throws {
        try Fixtures.withScratchFolder { folder in
            let store = folder + "/store.lamina"
            let good = GoldenStoreTests.golden + "/good/\(bad.store ?? "store").lamina"
            try FileManager.default.copyItem(atPath: good, toPath: store)
            try apply(bad, to: store)
            let verified = try Tool.run("verify", [store] + (bad.decode == true ? ["--decode"] : []))
            #expect(verified.status == bad.exit, "\(verified.standardOutput)\(verified.standardError)")
            #expect((verified.standardOutput + verified.standardError).contains(bad.says))
            // Run refuses too, or never reads what is wrong and says the same as before.
            let run = try Tool.run("run", ["generate", store, "--ids", "1,2", "-n", "2", "--temp", "0", "--json"])
            if run.status == 0 {
                #expect(run.standardOutput.contains("\"ids\":"))
                let ids = try greedy(store, [1, 2], count: 2)
                #expect(ids == (try greedy(good, [1, 2], count: 2)))
            } else {
                #expect([3, 65, 66].contains(run.status), "\(run.standardError)")
                #expect(run.standardOutput.isEmpty)
            }
        }
    }

    private func apply(_ bad: Case, to store: String) throws {
        if let manifest = bad.manifest {
            let data = try #require(FileManager.default.contents(atPath: GoldenStoreTests.golden + "/bad/" + manifest))
            try data.write(to: URL(fileURLWithPath: store + "/manifest.json"))
        }
        for patch in bad.patches ?? [] {
            let location = URL(fileURLWithPath: store + "/" + patch.file)
            var content = try Data(contentsOf: location)
            content.replaceSubrange(patch.at..<(patch.at + patch.bytes.count), with: patch.bytes)
            try content.write(to: location)
        }
        guard let file = bad.file else { return }
        let location = URL(fileURLWithPath: store + "/" + file)
        var content = try Data(contentsOf: location)
        if let flip = bad.flip { content[flip] ^= 0x20 }
        if let length = bad.truncate { content = content.prefix(length) }
        if let other = bad.replace { content = try Data(contentsOf: URL(fileURLWithPath: store + "/" + other)) }
        try FileManager.default.removeItem(at: location)
        if bad.remove != true { try content.write(to: location) }
    }
}
