import TensorCore
import Testing

@Suite struct JSONTests {
    @Test(arguments: [
        "", " ", "{", "}", "[1,]", "[1 2]", "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "01", "-", "1.", ".5", "1e", "+1",
        "tru",
        "nul", "\"", "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\u{1}\"", "[1]x",
        "{\"a\":1,\"a\":2}", "NaN", "[1,2", "{\"a\":}",
    ])
    func refuses(_ text: String) {
        #expect(throws: LaminaError.self) { try JSONValue.parse(Array(text.utf8)) }
    }

    @Test func refusesInvalidUTF8() {
        for bytes: [UInt8] in [[0x22, 0xFF, 0x22], [0x22, 0xC0, 0x80, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22]] {
            #expect(throws: LaminaError.self) { try JSONValue.parse(bytes) }
        }
    }

    @Test func boundsDepthAndStrings() throws {
        let limits = JSONScanner.Limits(depth: 3, stringBytes: 4)
        #expect(throws: Never.self) { try JSONValue.parse(Array("[[[]]]".utf8), limits: limits) }
        #expect(throws: LaminaError.self) { try JSONValue.parse(Array("[[[[]]]]".utf8), limits: limits) }
        #expect(throws: LaminaError.self) { try JSONValue.parse(Array("\"12345\"".utf8), limits: limits) }
        #expect(throws: LaminaError.self) { try JSONValue.parse(Array("\"\\n2345\"".utf8), limits: limits) }
        let bottomless = [UInt8](repeating: UInt8(ascii: "["), count: 100_000)
        #expect(throws: LaminaError.self) { try JSONValue.parse(bottomless) }
    }

    @Test func keepsNumbersAsWritten() throws {
        let values = try #require(try JSONValue.parse(Array("[4, 4.0, 4e0, -0, 18446744073709551616]".utf8)).array)
        #expect(values.map(\.integer) == [4, nil, nil, 0, nil])
        #expect(values.map(\.double) == [4, 4, 4, -0.0, 18_446_744_073_709_551_616])
    }

    @Test func keepsNamesThatDifferOnlyByNormalisation() throws {
        let object = try #require(try JSONValue.parse(Array("{\"e\u{301}\":1,\"\u{e9}\":2}".utf8)).object)
        #expect(object["e\u{301}"]?.integer == 1)
        #expect(object["\u{e9}"]?.integer == 2)
    }

    @Test func decodesEscapes() throws {
        let text = try JSONValue.parse(Array(#""\u0041\ud83d\ude00\n\"\\\/""#.utf8)).string
        #expect(text.map { Array($0.utf8) } == Array("A😀\n\"\\/".utf8))
    }

    /// Strings as bytes are the same strings, escaped or not, as keys and as values.
    @Test func readsStringsAsBytes() throws {
        var scanner = JSONScanner(Array(#" { "a" : "é" , "\u0062\n" : "\ud83d\ude00x" } "#.utf8))
        var keys: [[UInt8]] = []
        var values: [UInt8] = []
        try scanner.scanObjectBytes { (key, scanner) throws(LaminaError) in
            keys.append(Array(key))
            try scanner.scanString(into: &values)
        }
        try scanner.finish()
        #expect(keys == [Array("a".utf8), Array("b\n".utf8)])
        #expect(values == Array("é😀x".utf8))
    }

    @Test(arguments: ["\"\u{1}\"", "\"a", "\"\\q\"", "\"\\ud800\"", "3"]) func refusesBadStringsAsBytes(_ text: String)
    {
        var scanner = JSONScanner(Array(text.utf8))
        var bytes: [UInt8] = []
        #expect(throws: LaminaError.self) { try scanner.scanString(into: &bytes) }
        var damaged = JSONScanner([0x22, 0x61, 0xC3, 0x22])
        #expect(throws: LaminaError.self) { try damaged.scanString(into: &bytes) }
        #expect(bytes.isEmpty)
    }

    @Test func canonicalFormIsStable() throws {
        let text = #"{"b":[1,2.50,true,null,"\u00e9\u0007"],"a":{"z":-1,"y":"x"}}"#
        let bytes = try JSONValue.parse(Array(text.utf8)).canonicalBytes()
        #expect(String(decoding: bytes, as: UTF8.self) == #"{"a":{"y":"x","z":-1},"b":[1,2.50,true,null,"é\u0007"]}"#)
        #expect(try JSONValue.parse(bytes).canonicalBytes() == bytes)
    }

    @Test func writesNumbersThatReadBack() {
        #expect(JSONValue(0.1).text() == "0.1")
        #expect(JSONValue(Float(3)).text() == "3")
        #expect(JSONValue(Double.nan).text() == "null")
    }
}
