import Foundation
import LayerStore
import StoreWriter
import TensorCore
import TestSupport
import Testing

/// Manifests whose digests are right and whose source is impossible: nothing is written for them.
@Suite struct HostileManifestTests {
    private func expectRefusal(
        _ what: String, _ fixture: RestoreFixture, _ folder: String, _ change: (inout Manifest) -> Void
    ) throws {
        let path = fixture.store + "/" + Manifest.fileName
        let before = try Data(contentsOf: URL(fileURLWithPath: path))
        try fixture.changeManifest(change)
        var found: LaminaError?
        do throws(LaminaError) { try fixture.restore(to: folder + "/out") } catch { found = error }
        #expect(found?.kind == .malformed, "\(what): \(String(describing: found))")
        #expect(found?.subject == path, "\(what)")
        #expect(!FileManager.default.fileExists(atPath: folder + "/out"), "\(what)")
        try before.write(to: URL(fileURLWithPath: path))
    }

    @Test func namesCannotLeaveTheFolder() throws {
        try Fixtures.withScratchFolder { folder in
            let fixture = try RestoreFixture(in: folder)
            let names = [
                "../x.safetensors", "/tmp/x.safetensors", "", ".", "..", "a/b.safetensors", "a\\b.safetensors",
                ".hidden.safetensors", "a\nb.safetensors", "a\u{1B}[2J.safetensors", "x.py", "a\u{0}.safetensors",
                "pytorch_model.bin", "config.json", "\u{7F}.safetensors",
                String(repeating: "a", count: 300) + ".safetensors",
            ]
            for name in names {
                try expectRefusal(name, fixture, folder) { $0.source.files[0].path = name }
            }
            try expectRefusal("twice", fixture, folder) { $0.source.files[2].path = "pytorch_model.bin" }
            for path in ["side/a/b.json", "side/.profile", "side/model.safetensors"] {
                try expectRefusal(path, fixture, folder) { manifest in
                    let index = manifest.sideFiles.firstIndex { $0.path == "side/config.json" }!
                    manifest.sideFiles[index].path = path
                }
            }
        }
    }

    @Test func placesMustMakeUpTheFile() throws {
        try Fixtures.withScratchFolder { folder in
            let fixture = try RestoreFixture(in: folder)
            func change(_ name: String, _ body: @escaping (inout Manifest.Tensor) -> Void) -> (inout Manifest) -> Void {
                { manifest in
                    for shard in manifest.shards.indices {
                        for index in manifest.shards[shard].tensors.indices
                        where manifest.shards[shard].tensors[index].name == name {
                            body(&manifest.shards[shard].tensors[index])
                        }
                    }
                }
            }
            try expectRefusal("overlap", fixture, folder, change("safe.half") { $0.sourceOffset -= 2 })
            try expectRefusal("outside", fixture, folder, change("safe.half") { $0.sourceOffset += 1 << 30 })
            try expectRefusal("overflow", fixture, folder, change("safe.half") { $0.sourceOffset = 1 << 62 })
            try expectRefusal("another file", fixture, folder, change("safe.half") { $0.sourceFile = 1 })
            let digest = SHA256.digest(of: [1])
            try expectRefusal("twins differ", fixture, folder, change("zip.twin") { $0.digest = digest })
            try expectRefusal("moved", fixture, folder, change("zip.upper") { $0.sourceOffset += 4000 })
            for size: UInt64 in [0, 1, 1 << 40, 1 << 62] {
                for file in 0..<3 {
                    try expectRefusal("size \(size)", fixture, folder) { $0.source.files[file].size = size }
                }
            }
            try expectRefusal("data offset", fixture, folder) { $0.source.files[0].dataOffset += 8 }
            try expectRefusal("data offset", fixture, folder) { $0.source.files[0].dataOffset = 1 << 62 }
            try expectRefusal("header", fixture, folder) { $0.source.files[0].header = "side/nothing" }
            try expectRefusal("header", fixture, folder) { $0.source.files[0].header = "side/config.json" }
            try expectRefusal("format", fixture, folder) { $0.source.files[0].format = .torchArchive }
        }
    }

    /// Overlaps that no digest of the manifest shows: found while the file is made.
    @Test func tensorsThatShareBytesMustAgree() throws {
        try Fixtures.withScratchFolder { folder in
            let fixture = try RestoreFixture(in: folder)
            try fixture.changeManifest { manifest in
                for shard in manifest.shards.indices {
                    for index in manifest.shards[shard].tensors.indices
                    where manifest.shards[shard].tensors[index].name == "zip.part" {
                        manifest.shards[shard].tensors[index].sourceOffset += 2
                    }
                }
            }
            var found: LaminaError?
            do throws(LaminaError) { try fixture.restore(to: folder + "/out") } catch { found = error }
            #expect(found?.kind == .malformed && found?.tensor == "zip.part")
            let made = try SmallConversion.contents(folder + "/out").keys.sorted()
            #expect(made == ["model.safetensors"])
        }
    }
}
