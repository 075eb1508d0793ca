import Foundation
import LayerStore
import TensorCore
import TestSupport
import Testing

/// Stores under decay: case 42 of the case table, through the verifier.
@Suite struct DamageTests {
    private func damage(_ path: String, _ level: Verification.Level) -> [LaminaError] {
        do throws(LaminaError) {
            let store = try Store(path: path, in: RealFileSystem())
            let verification = Verification(store: store, level: level, kernels: SmallConversion.kernels)
            var damage = try verification.checkSideFiles()
            for shard in store.manifest.shards {
                damage += try verification.check(shard) { (_) throws(LaminaError) in }
            }
            return damage
        } catch {
            return [error]
        }
    }

    /// Bytes of every file flipped in turn (every byte of small files, a prime stride in shards): damage, in that file.
    @Test func flippedBytesAreFoundAndNamed() throws {
        try Fixtures.withScratchFolder { folder in
            let conversion = try SmallConversion(in: folder)
            let path = folder + "/store"
            try conversion.run(to: path)
            for (name, content) in try SmallConversion.contents(path) {
                let step = content.count > 20_000 ? 997 : content.count > 4000 ? 13 : 1
                let location = URL(fileURLWithPath: path + "/" + name)
                for index in stride(from: 0, to: content.count, by: step) {
                    // The manifest's last byte is the line feed behind it.
                    if name == "manifest.json", index == content.count - 1 { continue }
                    var flipped = content
                    flipped[index] ^= 0x04
                    try flipped.write(to: location)
                    let found = damage(path, .full)
                    #expect(found.count == 1, "\(name) byte \(index)")
                    #expect(found.first?.subject == path + "/" + name, "\(name) byte \(index)")
                    #expect(found.first?.kind == .damaged, "\(name) byte \(index)")
                    if let range = found.first?.bytes { #expect(range.contains(UInt64(index))) }
                }
                try content.write(to: location)
            }
            #expect(damage(path, .decode).isEmpty)
        }
    }

    @Test func truncatedExtendedMissingAndSwappedFilesAreNamed() throws {
        try Fixtures.withScratchFolder { folder in
            let conversion = try SmallConversion(in: folder)
            let path = folder + "/store"
            try conversion.run(to: path)
            let contents = try SmallConversion.contents(path)
            for (name, content) in contents where name != "manifest.json" {
                let location = URL(fileURLWithPath: path + "/" + name)
                let lengths = stride(from: 0, to: content.count, by: max(1, content.count / 23))
                for changed in lengths.map({ content.prefix($0) }) + [content + [0]] {
                    try Data(changed).write(to: location)
                    #expect(damage(path, .quick).map(\.subject) == [path + "/" + name])
                }
                try FileManager.default.removeItem(at: location)
                let missing = damage(path, .quick)
                #expect(missing.map(\.subject) == [path + "/" + name])
                #expect(missing.first?.kind == .damaged)
                try content.write(to: location)
            }
            let first = try #require(contents["layers/0000.h5"])
            let second = try #require(contents["layers/unused.h5"])
            try second.write(to: URL(fileURLWithPath: path + "/layers/0000.h5"))
            try first.write(to: URL(fileURLWithPath: path + "/layers/unused.h5"))
            #expect(damage(path, .full).count == 2)
            try FileManager.default.removeItem(atPath: path + "/manifest.json")
            #expect(damage(path, .quick).first?.kind == .missing)
        }
    }

    /// Damage inside a chunk is told by layer, tensor and byte range.
    @Test func chunksAreLocatedByLayerTensorAndRange() throws {
        try Fixtures.withScratchFolder { folder in
            let conversion = try SmallConversion(in: folder)
            let path = folder + "/store"
            try conversion.run(to: path)
            let store = try Store(path: path, in: RealFileSystem())
            let shard = store.manifest.shards[0]
            let header = try store.header(of: shard, file: try store.open(shard))
            let chunk = header.tensors[1].chunks[2]
            let handle = try #require(FileHandle(forUpdatingAtPath: path + "/" + shard.path))
            handle.seek(toFileOffset: chunk.offset + 5)
            handle.write(Data([0x5A, 0xA5, 0x5A]))
            let found = damage(path, .full)
            #expect(found.count == 1)
            #expect(found.first?.layer == "0")
            #expect(found.first?.tensor == "layers.0.a")
            #expect(found.first?.bytes == chunk.offset..<(chunk.offset + UInt64(chunk.storedSize)))
        }
    }
}
