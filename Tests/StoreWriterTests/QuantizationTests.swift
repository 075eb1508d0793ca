import CKernels
import Foundation
import LayerStore
import StoreWriter
import TensorCore
import TestSupport
import Testing

@Suite struct QuantizationTests {
    /// Largest relative error of the small checkpoint's normally distributed weights, by scheme.
    private static let errorBounds: [(name: String, bound: Double)] = [
        ("int8-row", 0.011), ("q8", 0.007), ("q4", 0.08), ("nf4", 0.1), ("nf4-double", 0.1), ("int8-dynamic", 0.016),
        ("ecq-tier", 0.06), ("ecq-huf", 0.06),
    ]

    private func floats(_ bytes: [UInt8]) -> [Float] {
        bytes.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
    }

    @Test(arguments: Schemes.all.map(\.name), [4096, 1 << 20])
    func storesVerifyAndSayTheirErrors(_ name: String, _ chunkBytes: Int) throws {
        try Fixtures.withScratchFolder { folder in
            let scheme = try #require(Schemes.named(name))
            let quantization = try SmallQuantization(in: folder, scheme: scheme, chunkBytes: chunkBytes)
            try quantization.run(to: folder + "/small")
            #expect(try SmallQuantization.damage(folder + "/small").isEmpty)
            let bound = try #require(QuantizationTests.errorBounds.first { $0.name == name }).bound
            let full = try Store(path: folder + "/full", in: RealFileSystem()).manifest
            let small = try Store(path: folder + "/small", in: RealFileSystem()).manifest
            for (before, after) in zip(full.shards.flatMap(\.tensors), small.shards.flatMap(\.tensors)) {
                #expect(after.digest == before.digest, "the manifest names the source's bytes: \(after.name)")
                guard before.layout != .rows else {
                    #expect(after == before)
                    continue
                }
                let loss = try #require(after.quantization)
                #expect(loss.relativeError > 0 && loss.relativeError < bound, "\(after.name) \(loss.relativeError)")
                #expect((loss.step != nil) == scheme.hasFreeStep)
            }
            // F32, so that nothing is rounded on the way out.
            let exact = floats(try SmallQuantization.values("layers.0.c", in: folder + "/full"))
            let found = floats(try SmallQuantization.values("layers.0.c", in: folder + "/small"))
            let (squares, errors) = zip(exact, found).reduce(into: (0.0, 0.0)) { sums, pair in
                sums.0 += Double(pair.0) * Double(pair.0)
                sums.1 += (Double(pair.0) - Double(pair.1)) * (Double(pair.0) - Double(pair.1))
            }
            let noted = small.shards.flatMap(\.tensors).first { $0.name == "layers.0.c" }?.quantization?.relativeError
            #expect(abs((errors / squares).squareRoot() - (noted ?? 0)) < 1e-9)
        }
    }

    /// Equal bytes for any thread count and instruction set, and for a run that was interrupted.
    @Test(arguments: Schemes.all.map(\.name))
    func bytesDoNotDependOnThreadsKernelsOrInterruptions(_ name: String) throws {
        try Fixtures.withScratchFolder { folder in
            let quantization = try SmallQuantization(in: folder, scheme: try #require(Schemes.named(name)))
            try quantization.run(to: folder + "/one")
            let expected = try SmallConversion.contents(folder + "/one")
            let tables = [LAMINA_ISA_AVX2, LAMINA_ISA_AVX512, LAMINA_ISA_AVX512_VBMI2, LAMINA_ISA_NEON]
            for (index, isa) in tables.enumerated() {
                let place = folder + "/\(index)"
                try quantization.run(to: place, threads: index + 1, kernels: try #require(lamina_kernels_for(isa)))
                #expect(try SmallConversion.contents(place) == expected)
            }
            for bytes: UInt64 in [0, 100_000, 300_000] {
                let place = folder + "/stopped\(bytes)"
                #expect(throws: LaminaError.self) { try quantization.run(to: place, stopAfter: bytes) }
                try quantization.run(to: place, threads: 2)
                #expect(try SmallConversion.contents(place) == expected)
            }
        }
    }

    /// What is wrong is said by row and column, and nothing is made.
    @Test(arguments: [Float.nan, .infinity])
    func weightsThatAreNoNumbersAreRefused(_ value: Float) throws {
        try Fixtures.withScratchFolder { folder in
            let small = try SmallConversion(in: folder)
            let file = small.source + "/model.safetensors"
            var content = try Data(contentsOf: URL(fileURLWithPath: file))
            let header = content.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
            let text = try #require(try JSONValue.parse(Array(content[8..<(8 + header)])).object)
            let start = try #require(text["layers.0.c"]?.object?["data_offsets"]?.array?.first?.integer)
            let place = 8 + header + start + (33 * 600 + 17) * 4
            content.replaceSubrange(place..<(place + 4), with: withUnsafeBytes(of: value.bitPattern) { Data($0) })
            try content.write(to: URL(fileURLWithPath: file))
            try small.run(to: folder + "/full")
            let quantization = SmallQuantization(of: folder + "/full", scheme: BlockInt8())
            let failure = #expect(throws: LaminaError.self) { try quantization.run(to: folder + "/small") }
            #expect(failure?.kind == .malformed)
            #expect(failure?.tensor == "layers.0.c")
            #expect(failure?.problem.contains("row 33, column 17") == true, "\(failure?.problem ?? "")")
            #expect(!FileManager.default.fileExists(atPath: folder + "/small/manifest.json"))
        }
    }

    /// A store that decodes to something else than its manifest says is not quantized.
    @Test func damagedSourcesAreRefused() throws {
        try Fixtures.withScratchFolder { folder in
            let quantization = try SmallQuantization(in: folder, scheme: BlockInt8())
            let shard = folder + "/full/layers/0000.h5"
            let header = try Store(path: folder + "/full", in: RealFileSystem())
            let record = try #require(
                try header.header(of: header.manifest.shards[0], file: try header.open(header.manifest.shards[0]))
                    .tensors.first { $0.name == "layers.0.b" }?.chunks.first)
            let file = try #require(FileHandle(forWritingAtPath: shard))
            file.seek(toFileOffset: record.offset + 5)
            file.write(Data([0x5A, 0xA5]))
            let failure = #expect(throws: LaminaError.self) { try quantization.run(to: folder + "/small") }
            #expect(failure?.kind == .damaged)
        }
    }

    /// The step found gives the bits wanted, and does not depend on threads.
    @Test(arguments: ["ecq-tier", "ecq-huf"], [2.5, 4.25, 6.5])
    func stepsAreFoundForTheBitsWanted(_ name: String, _ bits: Double) throws {
        try Fixtures.withScratchFolder { folder in
            let path = folder + "/full"
            try SmallConversion(in: folder, matrices: [("big", [1024, 1000])], chunkBytes: 1 << 16).run(to: path)
            let source = try StoreSource(try Store(path: path, in: RealFileSystem()), kernels: SmallConversion.kernels)
            let scheme = try #require(Schemes.named(name))
            var steps: [Double] = []
            for threads in [1, 3] {
                var plan = SmallQuantization(of: path, scheme: scheme).plan(source)
                for index in plan.shards[0].tensors.indices {
                    plan.shards[0].tensors[index].quantization = QuantizationParameters(rate: .bits(bits))
                }
                try StepSolver(threads: threads, kernels: SmallConversion.kernels).solve(&plan)
                steps.append(try #require(plan.steps.first?.step))
                guard threads == 1 else { continue }
                let conversion = Conversion(
                    plan: plan, options: Conversion.Options(threads: 2), kernels: SmallConversion.kernels,
                    fileSystem: RealFileSystem())
                _ = try conversion.run(to: folder + "/small", source: source, observer: Stopper(after: .max))
            }
            #expect(steps[0] == steps[1])
            let small = try StoreSource(
                try Store(path: folder + "/small", in: RealFileSystem()), kernels: SmallConversion.kernels)
            let tensor = small.headers[0].tensors[0]
            #expect(abs(tensor.bitsPerWeight - bits) < bits * 0.01, "\(tensor.bitsPerWeight)")
        }
    }
}
