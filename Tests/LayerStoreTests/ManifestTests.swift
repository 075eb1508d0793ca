import LayerStore
import TensorCore
import TestSupport
import Testing

@Suite struct ManifestTests {
    private static let digest = SHA256.digest(of: [1])

    static func example() -> Manifest {
        let tensor = Manifest.Tensor(
            name: "model.layers.0.w", storedName: "model.layers.*.w", dtype: .bfloat16, shape: Shape([2, 3]),
            layout: .panel64, codec: "exp-huf", sourceFile: 0, sourceOffset: 0, digest: digest)
        return Manifest(
            tool: Manifest.Tool(version: "0.1.0", zstd: "1.5.4", hdf5: "1.10.8"), architecture: "llama",
            chunkBytes: 1 << 20,
            source: Manifest.Source(files: [
                Manifest.Source.File(
                    path: "model.safetensors", size: 100, header: "side/source/model.safetensors.header", dataOffset: 88
                )
            ]),
            shards: [Manifest.Shard(path: "layers/0000.h5", layer: "0", size: 8192, digest: digest, tensors: [tensor])],
            tied: [Manifest.Tie(name: "lm_head.weight", target: "model.layers.0.w")],
            sideFiles: [Manifest.SideFile(path: "side/config.json", size: 3, digest: digest)])
    }

    @Test func roundTrips() throws {
        let manifest = ManifestTests.example()
        let bytes = manifest.encoded()
        let again = try Manifest(bytes, file: "manifest.json")
        #expect(again.encoded() == bytes)
        #expect(again.shards == manifest.shards)
        #expect(again.source == manifest.source)
        #expect(again.tied == manifest.tied)
    }

    /// Safetensors is what a manifest says nothing of.
    @Test(arguments: Manifest.Source.Format.allCases)
    func sourceFormatsRoundTrip(_ format: Manifest.Source.Format) throws {
        var manifest = ManifestTests.example()
        manifest.source.files[0].format = format
        let bytes = manifest.encoded()
        #expect(try Manifest(bytes, file: "manifest.json").source == manifest.source)
        let isStated = String(decoding: bytes, as: UTF8.self).contains("\"format\":\"\(format.rawValue)\"")
        #expect(isStated == (format != .safetensors))
    }

    /// A flipped byte anywhere is damage: exit code 3, not a crash and not another store.
    @Test func everyFlippedByteIsDamage() {
        let bytes = ManifestTests.example().encoded()
        for index in bytes.indices.dropLast() {
            var damaged = bytes
            damaged[index] ^= 1
            let error = #expect(throws: LaminaError.self) { try Manifest(damaged, file: "m") }
            #expect(error?.kind == .damaged)
        }
        for length in stride(from: 0, to: bytes.count - 1, by: 7) {
            let error = #expect(throws: LaminaError.self) { try Manifest(Array(bytes[0..<length]), file: "m") }
            #expect(error?.kind == .damaged)
        }
    }

    /// A right digest over impossible content: malformed, named, nothing allocated from its numbers.
    @Test func impossibleContentIsMalformed() throws {
        func sealed(_ change: (inout Manifest) -> Void) throws -> LaminaError? {
            var manifest = ManifestTests.example()
            change(&manifest)
            return #expect(throws: LaminaError.self) { try Manifest(manifest.encoded(), file: "m") }
        }
        #expect(try sealed { $0.shards[0].path = "../x.h5" }?.kind == .malformed)
        #expect(try sealed { $0.shards[0].path = "layers/../../x" }?.kind == .malformed)
        #expect(try sealed { $0.shards[0].path = "/etc/passwd" }?.kind == .malformed)
        #expect(try sealed { $0.sideFiles[0].path = "layers/0000.h5" }?.kind == .malformed)
        #expect(try sealed { $0.shards.append($0.shards[0]) }?.kind == .malformed)
        #expect(try sealed { $0.shards[0].tensors.append($0.shards[0].tensors[0]) }?.kind == .malformed)
        #expect(try sealed { $0.shards[0].tensors[0].codec = "zip" }?.kind == .malformed)
        #expect(try sealed { $0.shards[0].tensors[0].sourceFile = 1 }?.kind == .malformed)
        #expect(try sealed { $0.shards[0].tensors[0].shape = Shape([1 << 46, 1 << 46]) }?.kind == .malformed)
        #expect(try sealed { $0.tied[0].target = "nothing" }?.kind == .malformed)
        #expect(try sealed { $0.chunkBytes = 0 }?.kind == .malformed)
    }

    @Test func newerVersionsAreRefusedByNumber() throws {
        let text = String(decoding: ManifestTests.example().encoded(), as: UTF8.self)
        var object = try #require(try JSONValue.parse(Array(text.utf8)).object)
        object.members.removeAll { $0.key == "digest" || $0.key == "version" }
        object.members.append(("version", 2))
        let digest = SHA256.digest(of: JSONValue.object(object).canonicalBytes())
        object.members.append(("digest", .string(digest.description)))
        let error = #expect(throws: LaminaError.self) {
            try Manifest(JSONValue.object(object).canonicalBytes(), file: "m")
        }
        #expect(error?.kind == .malformed)
        #expect(error?.found == "2")
    }
}
