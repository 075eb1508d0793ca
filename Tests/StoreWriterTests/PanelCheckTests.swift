import CKernels
import Foundation
import LayerStore
import StoreWriter
import TensorCore
import TestSupport
import Testing

/// Quantized stores whose checksums are right over panels that no writer makes: decoding says so.
@Suite struct PanelCheckTests {
    /// Changes bytes of the first panel of `layers.0.c`, in a store whose chunks are not coded, and makes the shard's
    /// checksums right again. Returns what `--decode` finds.
    private func damage(
        _ scheme: any QuantizationScheme, in folder: String, _ change: (inout [UInt8]) -> Void
    ) throws -> [LaminaError] {
        let quantization = try SmallQuantization(in: folder, scheme: scheme)
        let path = folder + "/small"
        try quantization.run(to: path)
        var manifest = try Store(path: path, in: RealFileSystem()).manifest
        let location = path + "/" + manifest.shards[0].path
        var content = Array(try Data(contentsOf: URL(fileURLWithPath: location)))
        let (block, _) = try ShardHeader.sizes(
            fixed: Array(content[..<ShardHeader.fixedSize]), file: location, fileSize: UInt64(content.count))
        var header = try ShardHeader(
            userBlock: Array(content[..<Int(block)]), file: location, fileSize: UInt64(content.count))
        let index = try #require(header.tensors.firstIndex { $0.name == "layers.0.c" })
        let record = header.tensors[index].chunks[0]
        try #require(record.encoding == .raw)
        let range = Int(record.offset)..<(Int(record.offset) + Int(record.storedSize))
        var chunk = Array(content[range])
        change(&chunk)
        content.replaceSubrange(range, with: chunk)
        header.tensors[index].chunks[0].hash = chunk.withUnsafeBytes { xxh3($0) }
        content.replaceSubrange(..<Int(block), with: header.encoded())
        try Data(content).write(to: URL(fileURLWithPath: location))
        manifest.shards[0].digest = SHA256.digest(of: content)
        try Data(manifest.encoded()).write(to: URL(fileURLWithPath: path + "/manifest.json"))
        return try SmallQuantization.damage(path)
    }

    /// Bytes of an `int8-row` chunk that are changed, and what is said.
    private typealias Change = (bytes: [(place: Int, byte: UInt8)], text: String)

    private static let changes: [Change] = [
        ([(0, 0x80), (1, 0x7F)], "scale that is no number"), ([(64, 0)], "1 codes for escapes, and 0 escapes"),
        ([(38, 0), (39, 0)], "out of place"), ([(32, 1), (33, 2), (34, 1), (35, 2)], "out of place"),
    ]

    @Test(arguments: changes.indices) func wrongPanelsAreNamed(_ index: Int) throws {
        let (changes, text) = PanelCheckTests.changes[index]
        try Fixtures.withScratchFolder { folder in
            let found = try damage(RowInt8(), in: folder) { chunk in
                for (place, byte) in changes { chunk[place] = byte }
            }
            #expect(found.first?.kind == .malformed)
            #expect(found.first?.problem.contains(text) == true, "\(found)")
            #expect(found.first?.tensor == "layers.0.c")
        }
    }

    /// An escape for a code that is none; the same with its code is a panel like any other.
    @Test func escapesBelongToCodes() throws {
        // Column 5, row 2, value 300.
        let escape: [UInt8] = [0x2C, 0x01, 2, 5, 0, 0, 0, 0]
        for isWhole in [false, true] {
            try Fixtures.withScratchFolder { folder in
                let found = try damage(RowInt8(), in: folder) { chunk in
                    chunk.replaceSubrange(32..<40, with: escape)
                    if isWhole { chunk[64 + 5 / 4 * 64 + 4 * 2 + 5 % 4] = 0 }
                }
                #expect(found.isEmpty == isWhole, "\(found)")
            }
        }
    }

    @Test(arguments: ["q8", "q4", "nf4", "nf4-double", "int8-dynamic"])
    func scalesAreNumbers(_ name: String) throws {
        try Fixtures.withScratchFolder { folder in
            let found = try damage(try #require(Schemes.named(name)), in: folder) { chunk in
                for place in 0..<4 { chunk[place] = 0xFF }
            }
            #expect(found.first?.problem.contains("scale that is no number") == true, "\(found)")
        }
    }
}
