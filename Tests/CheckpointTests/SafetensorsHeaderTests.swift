import Checkpoint
import Foundation
import TensorCore
import TestSupport
import Testing

/// The malformed checkpoints of the case table (docs/reliability.md), cases 1 to 12, and what must be said of each.
@Suite struct SafetensorsHeaderTests {
    private func error(_ bytes: [UInt8]) throws -> LaminaError? {
        try Fixtures.withScratchFolder { folder in
            let path = folder + "/model.safetensors"
            try Data(bytes).write(to: URL(fileURLWithPath: path))
            do throws(LaminaError) {
                _ = try WeightFile(name: "model.safetensors", path: path, in: RealFileSystem())
                return nil
            } catch {
                return error
            }
        }
    }

    private func error(header: String, data: Int = 0) throws -> LaminaError? {
        try error(SyntheticCheckpoint.file(header: Array(header.utf8), data: [UInt8](repeating: 0, count: data)))
    }

    private func entry(_ dtype: String, _ shape: String, _ offsets: String) -> String {
        #"{"dtype":"\#(dtype)","shape":\#(shape),"data_offsets":\#(offsets)}"#
    }

    @Test func acceptsWhatIsRight() throws {
        #expect(try error(header: "{}") == nil)
        #expect(try error(header: "{}   ") == nil)
        let two = "{\"a\":\(entry("F32", "[2]", "[0,8]")),\"b\":\(entry("BF16", "[]", "[8,10]"))}"
        #expect(try error(header: two, data: 10) == nil)
        #expect(try error(header: "{\"__metadata__\":{\"format\":\"pt\"}}") == nil)
        #expect(try error(header: "{\"empty\":\(entry("F32", "[0,5]", "[0,0]"))}") == nil)
    }

    @Test(arguments: [0, 1, 7])
    func case1TooShort(_ count: Int) throws {
        let found = try error([UInt8](repeating: 0, count: count))
        #expect(found?.kind == .malformed)
        #expect(found?.problem.contains("shorter than its 8-byte length field") == true)
    }

    @Test(arguments: [UInt64.max, 1 << 63, 100_000_001, 10] as [UInt64])
    func case2HeaderLength(_ length: UInt64) throws {
        let field = (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * UInt64($0))) }
        #expect(try error(field + [0x7B])?.kind == .malformed)
    }

    @Test func case3and4NotJSON() throws {
        for header: [UInt8] in [
            [0x7B, 0xFF, 0x7D], Array("{\"\\ud800\":{}}".utf8), Array("{} x".utf8), Array("[]".utf8), Array("{".utf8),
            Array(" {}".utf8), Array("{\"a\":".utf8) + [UInt8](repeating: 0x7B, count: 100_000), [],
        ] {
            let found = try error(SyntheticCheckpoint.file(header: header, data: []))
            #expect(found?.kind == .malformed)
            #expect(found?.subject.hasSuffix("model.safetensors") == true)
        }
    }

    @Test func case5DuplicatesAndNormalisation() throws {
        let one = entry("U8", "[1]", "[0,1]")
        let found = try error(header: "{\"a\":\(one),\"a\":\(one)}", data: 1)
        #expect(found?.tensor == "a")
        let distinct = "{\"e\u{301}\":\(one),\"\u{e9}\":\(entry("U8", "[1]", "[1,2]"))}"
        #expect(try error(header: distinct, data: 2) == nil)
    }

    @Test(arguments: [
        "[2,1]", "[-1,1]", "[0,1e3]", "[0,4.0]", "[\"0\",1]", "[0,1,2]", "[0,18446744073709551616]", "[0]", "7",
        "[-0,1]",
    ])
    func case6Offsets(_ offsets: String) throws {
        let found = try error(header: "{\"w\":\(entry("U8", "[1]", offsets))}", data: 1)
        #expect(found?.kind == .malformed)
        #expect(found?.tensor == "w")
    }

    @Test func case7Coverage() throws {
        let a = entry("U8", "[2]", "[0,2]")
        let overlap = try error(header: "{\"a\":\(a),\"b\":\(entry("U8", "[2]", "[1,3]"))}", data: 3)
        #expect(overlap?.tensor == "b")
        #expect(overlap?.problem.contains("tensor a") == true)
        #expect(try error(header: "{\"a\":\(a),\"b\":\(entry("U8", "[2]", "[3,5]"))}", data: 5)?.kind == .malformed)
        #expect(try error(header: "{\"b\":\(entry("U8", "[2]", "[1,3]"))}", data: 3)?.kind == .malformed)
        #expect(try error(header: "{\"a\":\(a)}", data: 1)?.kind == .malformed)
        let tail = try error(header: "{\"a\":\(a)}", data: 3)
        #expect(tail?.expected == "2 bytes")
        #expect(tail?.found == "3")
    }

    @Test(arguments: [
        "[9223372036854775807,3]", "[1099511627776,1099511627776,0]", "[1,1,1,1,1,1,1,1,1]", "[3]", "[140737488355329]",
    ])
    func case8Shapes(_ shape: String) throws {
        #expect(try error(header: "{\"w\":\(entry("U8", shape, "[0,2]"))}", data: 2)?.kind == .malformed)
    }

    @Test func case9UnknownDType() throws {
        let found = try error(header: "{\"w\":\(entry("F6_E2M3", "[4]", "[0,3]"))}", data: 3)
        #expect(found?.problem == "dtype F6_E2M3 is not supported")
        #expect(found?.tensor == "w")
    }

    @Test func case10TooManyTensors() throws {
        var header = "{"
        for index in 0...SafetensorsHeader.maximumTensors {
            header += "\(index == 0 ? "" : ",")\"\(index)\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}"
        }
        let found = try error(header: header + "}")
        #expect(found?.problem.contains("more than 1000000 tensors") == true)
    }

    @Test(arguments: ["{\"a\":1}", "{\"a\":{}}", "[]", "null"])
    func case11Metadata(_ metadata: String) throws {
        #expect(try error(header: "{\"__metadata__\":\(metadata)}")?.kind == .malformed)
    }

    @Test func case11HugeMetadata() throws {
        let value = String(repeating: "x", count: 2 << 20)
        #expect(try error(header: "{\"__metadata__\":{\"a\":\"\(value)\"}}")?.kind == .malformed)
    }

    @Test(arguments: ["\\n", "a\\u001b[2J", "\\u0000", "", String(repeating: "n", count: 10_000)])
    func case12Names(_ name: String) throws {
        let found = try error(header: "{\"\(name)\":\(entry("U8", "[1]", "[0,1]"))}", data: 1)
        #expect(found?.kind == .malformed)
        #expect(found?.description.unicodeScalars.contains { $0.value < 0x20 } == false)
    }

    @Test func changedFilesAreNoticed() throws {
        try Fixtures.withScratchFolder { folder in
            let path = folder + "/model.safetensors"
            let bytes = SyntheticCheckpoint.safetensors([
                .init(name: "a", dtype: .uint8, shape: [4], bytes: [1, 2, 3, 4])
            ])
            try Data(bytes).write(to: URL(fileURLWithPath: path))
            let file = try WeightFile(name: "model.safetensors", path: path, in: RealFileSystem())
            #expect(throws: Never.self) { try file.checkUnchanged() }
            let handle = try #require(FileHandle(forWritingAtPath: path))
            handle.truncateFile(atOffset: UInt64(bytes.count - 1))
            var buffer = [UInt8](repeating: 0, count: 4)
            let short = #expect(throws: LaminaError.self) {
                try buffer.withMutableBytes { (bytes) throws(LaminaError) in try file.read(into: bytes, atDataOffset: 0)
                }
            }
            #expect(short?.problem == "the file changed while being read")
            #expect(throws: LaminaError.self) { try file.checkUnchanged() }
        }
    }

    /// Seeded mutations of a good file: never a trap, and whatever is accepted covers the data exactly.
    @Test func mutatedHeadersNeverTrap() throws {
        let entries = "{\"a\":\(entry("F32", "[2,3]", "[0,24]")),\"b\":\(entry("BF16", "[4]", "[24,32]"))}"
        let original = Array(entries.utf8)
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<20_000 {
            var header = original
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let index = Int.random(in: 0..<header.count, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: header[index] = UInt8.random(in: 0...255, using: &generator)
                case 1: header.remove(at: index)
                default: header.insert(header[Int.random(in: 0..<header.count, using: &generator)], at: index)
                }
            }
            if let tensors = try? SafetensorsHeader.parse(header, dataSize: 32, file: "f") {
                #expect(tensors.reduce(0) { $0 + $1.bytes.count } == 32)
            }
        }
    }
}
