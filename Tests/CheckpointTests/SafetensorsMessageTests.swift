import Checkpoint
import TensorCore
import TestSupport
import Testing

/// What is said of malformed headers (cases 1 to 12 of docs/reliability.md): enough to find the place.
@Suite struct SafetensorsMessageTests {
    /// A header, the bytes of data behind it, and what the message must hold.
    struct Case: Sendable, CustomTestStringConvertible {
        var header: String
        var data: Int
        var says: String

        init(_ header: String, _ data: Int, says: String) {
            self.header = header
            self.data = data
            self.says = says
        }

        /// A tensor "w" of this entry, with one byte of data.
        init(entry: String, says: String) { self.init("{\"w\":\(entry)}", 1, says: "tensor w: " + says) }

        var testDescription: String { String((says + " | " + header).prefix(100)) }
    }

    private static func entry(
        _ dtype: String = "U8", _ shape: String = "[1]", _ offsets: String = "[0,1]", more: String = ""
    ) -> String { #"{"dtype":"\#(dtype)","shape":\#(shape),"data_offsets":\#(offsets)\#(more)}"# }

    /// Offsets count from the file's first byte, eight before the header.
    private static let syntax = [
        Case("", 0, says: "the header does not begin with '{'"),
        Case("[]", 0, says: "the header does not begin with '{'"),
        Case(" {}", 0, says: "the header does not begin with '{'"),
        Case("{", 0, says: "byte 9: expected a string"),
        Case("{\"w\"", 0, says: "byte 12: expected ':'"),
        Case("{\"w\":", 0, says: "byte 13: the text ends where a value should start"),
        Case("{} x", 0, says: "byte 11: text after the end of the document"),
        Case("{}\0", 0, says: "byte 10: text after the end of the document"),
        Case("{\"a\\ud800\":1}", 0, says: "byte 11: lone surrogate"),
        Case("{\"a\\udc00\":1}", 0, says: "byte 11: lone surrogate"),
        Case("{\"a\\ud800\\u0041\":1}", 0, says: "byte 11: lone surrogate"),
        Case("{\"a\\u00g0\":1}", 0, says: "byte 15: expected four hexadecimal digits"),
        Case("{\"a\\x\":1}", 0, says: "byte 12: unknown escape"),
        Case("{\"a\n\":1}", 0, says: "byte 11: a string has an unescaped control character"),
        Case("{\"w\":" + entry(more: ",\"a\":[[[1]]]") + "}", 1, says: "nesting is deeper than 4"),
        Case("{\"w\":" + entry() + ",}", 1, says: "expected a string"),
        Case("{\"__metadata__\":[]}", 0, says: "__metadata__ is not an object"),
        Case("{\"__metadata__\":null}", 0, says: "__metadata__ is not an object"),
        Case("{\"__metadata__\":{\"a\":1}}", 0, says: "byte 29: __metadata__ holds something other than text"),
        Case("{\"__metadata__\":{},\"__metadata__\":{}}", 0, says: "__metadata__ is given twice"),
    ]

    private static let entries = [
        Case(entry: "[]", says: "the entry is not an object"),
        Case(entry: "{}", says: "dtype, shape or data_offsets is missing"),
        Case(entry: "{\"dtype\":1}", says: "\"dtype\" is not text"),
        Case(entry: entry(more: ",\"dtype\":\"U8\""), says: "\"dtype\" is given twice"),
        Case(entry: entry(more: ",\"shape\":[1]"), says: "\"shape\" is given twice"),
        Case(entry: entry(more: ",\"data_offsets\":[0,1]"), says: "\"data_offsets\" is given twice"),
        Case(entry: entry("U8", "1"), says: "\"shape\" is not a list"),
        Case(entry: entry("U8", "[\"1\"]"), says: "\"shape\" holds something other than numbers"),
        Case(entry: entry("U8", "[1.0]"), says: "bad number in \"shape\"; expected integers from 0"),
        Case(entry: entry("U8", "[1]", "[1,0]"), says: "data_offsets are not a range"),
        Case(entry: entry("U8", "[1]", "[0,1,2]"), says: "data_offsets are not a range"),
        Case(entry: entry("U8", "[1]", "[-1,0]"), says: "bad number in \"data_offsets\""),
        Case(entry: entry("U8", "[1]", "[0,1e0]"), says: "bad number in \"data_offsets\""),
        Case(entry: entry("U8", "[1]", "[0,18446744073709551616]"), says: "bad number in \"data_offsets\""),
        Case(
            entry: entry("U8", "[2]"),
            says: "dtype and shape contradict data_offsets; expected 2 bytes for U8 [2], found 1"),
        Case(entry: entry("U8", "[1,1,1,1,1,1,1,1,1]"), says: "rank 9 is above the limit of 8"),
        Case(entry: entry("U8", "[140737488355329]"), says: "dimension 140737488355329 is outside"),
        Case(
            entry: entry("U8", "[1099511627776,1099511627776,0]"),
            says: "shape [1099511627776, 1099511627776, 0] is too large to address"),
        Case(entry: entry("F6_E2M3"), says: "dtype F6_E2M3 is not supported; expected BOOL, U8"),
        Case(entry: entry("F4"), says: "dtype F4 is not supported"),
    ]

    private static let places = [
        Case(
            "{\"a\":\(entry("U8", "[2]", "[0,2]")),\"b\":\(entry("U8", "[2]", "[1,3]"))}", 3,
            says: "tensor b: the tensor overlaps tensor a; expected data from 2, found 1"),
        Case(
            "{\"a\":\(entry("U8", "[2]", "[0,2]")),\"b\":\(entry("U8", "[2]", "[5,7]"))}", 7,
            says: "tensor b: the tensor leaves a hole of 3 bytes after tensor a"),
        Case(
            "{\"b\":\(entry("U8", "[2]", "[1,3]"))}", 3,
            says: "tensor b: the tensor leaves a hole of 1 bytes after the header"),
        Case(
            "{\"a\":\(entry("U8", "[4]", "[0,4]"))}", 9,
            says: "the data part has the wrong size; expected 4 bytes, found 9"),
        Case(
            "{\"a\":\(entry("U8", "[4]", "[0,4]"))}", 3,
            says: "the data part has the wrong size; expected 4 bytes, found 3"),
        Case("{\"a\":\(entry()),\"a\":\(entry())}", 1, says: "tensor a: the name is listed twice in the header"),
        Case("{\"a\":\(entry()),\"\\u0061\":\(entry())}", 1, says: "tensor a: the name is listed twice in the header"),
        Case("{\"a\\u001b[2J\":\(entry())}", 1, says: "a tensor name is not acceptable: \"a\\u{1b}[2J\""),
        Case("{\"a\\u0085\":\(entry())}", 1, says: "a tensor name is not acceptable: \"a\\u{85}\""),
        Case("{\"\":\(entry())}", 1, says: "expected 1 to 512 bytes without control characters, found 0 bytes"),
        Case("{\"\(String(repeating: "n", count: 10_000))\":\(entry())}", 1, says: "found 10000 bytes"),
    ]

    @Test(arguments: syntax + entries + places) func messages(_ test: Case) throws {
        let bytes = SyntheticCheckpoint.file(header: Array(test.header.utf8), data: [])
        let error = try #require(throws: LaminaError.self) {
            try SafetensorsHeader.parse(bytes, from: 8, dataSize: UInt64(test.data), file: "f")
        }
        #expect(error.kind == .malformed)
        #expect(error.description.contains(test.says), "\(error)")
        #expect(error.description.hasPrefix("f: "))
    }

    /// The byte that is wrong, not where its string begins.
    @Test(arguments: [[0xFF], [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xE2, 0x82], [0x80]])
    func theFirstByteThatIsNoUTF8IsNamed(_ bad: [UInt8]) throws {
        for text in ["\"é", "\"\\n€"] {
            let header = Array("{\(text)".utf8) + bad + Array("\":1}".utf8)
            let bytes = SyntheticCheckpoint.file(header: header, data: [])
            let error = #expect(throws: LaminaError.self) {
                try SafetensorsHeader.parse(bytes, from: 8, dataSize: 0, file: "f")
            }
            let offset = 8 + 1 + text.utf8.count
            #expect(error?.problem == "invalid JSON at byte \(offset): a string is not valid UTF-8")
        }
    }
}
