import Foundation
import LayerStore
import TensorCore
import TestSupport
import Testing

/// Every type, every bit pattern, every shape comes back as it was: by digest, through `--decode`, and rebuilt by the
/// Python reader, which shares no code.
@Suite struct LosslessTests {
    private typealias Tensor = SyntheticCheckpoint.Tensor

    /// The tensors of a safetensors file that is known to be good, by name: their bytes.
    private func tensors(_ path: String) throws -> [String: Range<Int>] {
        let content = try Data(contentsOf: URL(fileURLWithPath: path))
        let size = content.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        let header = try #require(try JSONValue.parse(Array(content[8..<(8 + size)])).object)
        var ranges: [String: Range<Int>] = [:]
        for (name, value) in header.members {
            guard let offsets = value.object?["data_offsets"]?.array?.compactMap(\.integer) else { continue }
            ranges[name] = (8 + size + offsets[0])..<(8 + size + offsets[1])
        }
        return ranges
    }

    private func expectLossless(_ source: String, in folder: String, _ options: [String]) throws {
        let store = try makeStore(source, in: folder, options)
        let verified = try Tool.run("verify", [store, "--decode", "--quiet"])
        #expect(verified.status == 0, "\(verified.standardOutput)\(verified.standardError)")
        let file = source + "/model.safetensors"
        let content = try Data(contentsOf: URL(fileURLWithPath: file))
        var left = try tensors(file)
        for shard in try Store(path: store, in: RealFileSystem()).manifest.shards {
            for tensor in shard.tensors {
                let known = left.removeValue(forKey: tensor.name)
                let range = try #require(known)
                #expect(tensor.digest == SHA256.digest(of: Array(content[range])), "\(tensor.name)")
            }
        }
        #expect(left.isEmpty)
        guard let python = Tool.python else { return }
        let reader = Fixtures.project.appendingPathComponent("formats/lamina_store.py").path
        for view in [[], ["--flat"]] {
            let result = try Tool.run(
                executable: python, [reader, store, "--compare", source] + view,
                environment: ["HDF5_PLUGIN_PATH": Tool.folder.path])
            #expect(result.status == 0, "\(view): \(result.standardOutput)\(result.standardError)")
        }
    }

    /// Tensors that no architecture uses, of every type and in every kind of shape.
    private func strangers() -> [Tensor] {
        var generator = SeededGenerator(seed: 3)
        let shapes = [[], [0], [1], [7], [1, 0, 3], [3, 1, 5], [1, 2, 1, 3, 1, 2, 1, 1], [65, 129], [256, 257]]
        return DType.allCases.flatMap { dtype in
            shapes.map { shape in
                let count = shape.reduce(1, *)
                let bytes = SyntheticCheckpoint.hostileBytes(count, dtype: dtype, using: &generator)
                return Tensor(
                    name: "strange.\(dtype.rawValue).\(shape.map(String.init).joined(separator: "x"))", dtype: dtype,
                    shape: shape, bytes: bytes)
            }
        }
    }

    /// Weights of all bit patterns in odd sizes, and beside them tensors of every type.
    @Test(arguments: [DType.bfloat16, .float16, .float32], [["--chunk-bytes", "4K"], []])
    func everyTypeAndBitPatternComesBack(_ dtype: DType, _ options: [String]) throws {
        try Fixtures.withScratchFolder { folder in
            var sizes = SyntheticCheckpoint.LlamaSizes()
            (sizes.hidden, sizes.vocabulary, sizes.intermediate, sizes.layers) = (257, 1031, 259, 1)
            (sizes.dtype, sizes.isHostile, sizes.isTied) = (dtype, true, dtype == .float16)
            let source = folder + "/source"
            try SyntheticCheckpoint.writeLlama(sizes, to: source, more: strangers())
            try expectLossless(source, in: folder, options)
        }
    }

    /// FP8 with block scales: every code, NaNs among them, and scales that are no numbers.
    @Test func blockScaledFloat8ComesBack() throws {
        try Fixtures.withScratchFolder { folder in
            let source = folder + "/source"
            try FileManager.default.copyItem(atPath: Fixtures.path("models/deepseek-v3-fp8"), toPath: source)
            let file = source + "/model.safetensors"
            var content = try Data(contentsOf: URL(fileURLWithPath: file))
            var generator = SeededGenerator(seed: 5)
            let scales = try tensors(file).filter { $0.key.hasSuffix("_scale_inv") }
            try #require(!scales.isEmpty)
            for (name, range) in scales {
                let bytes = SyntheticCheckpoint.hostileBytes(range.count / 4, dtype: .float32, using: &generator)
                content.replaceSubrange(range, with: bytes)
                let codes = try #require(try tensors(file)[String(name.dropLast("_scale_inv".count))])
                content.replaceSubrange(codes, with: codes.map { UInt8(truncatingIfNeeded: $0) })
            }
            try content.write(to: URL(fileURLWithPath: file))
            try expectLossless(source, in: folder, [])
        }
    }
}
