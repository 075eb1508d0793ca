import TensorCore
import Testing

@Suite struct ValueTests {
    @Test func digestsOfKnownText() {
        // FIPS 180-2, appendix B.
        #expect(
            SHA256.digest(of: Array("abc".utf8)).description
                == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(
            SHA256.digest(of: []).description == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        // xxHash's own test vectors for empty input and seed 0.
        #expect([UInt8]().withUnsafeBytes { xxh3($0) } == 0x2D06_8005_38D3_94C2)
    }

    @Test func digestTextRoundTrips() {
        let digest = SHA256.digest(of: [1, 2, 3])
        #expect(SHA256Digest(hexadecimal: digest.description) == digest)
        #expect(SHA256Digest(hexadecimal: digest.description.uppercased()) == nil)
        #expect(SHA256Digest(hexadecimal: String(digest.description.dropLast())) == nil)
    }

    @Test func checkedArithmeticNeverTraps() {
        #expect(Checked.product([1 << 40, 1 << 40, 0]) == nil)
        #expect(Checked.product([3, 0, 5]) == 0)
        #expect(Checked.product([]) == 1)
        #expect(Checked.multiply(Int.max, 2) == nil)
        #expect(Checked.add(UInt64.max, 1) == nil)
        #expect(Checked.roundUp(UInt64.max, to: 4096) == nil)
        #expect(Checked.roundUp(4097, to: 4096) == 8192)
    }

    @Test func shapesHaveLimits() {
        #expect(Shape([2, 3]).problem(elementSize: 2) == nil)
        #expect(Shape([]).elementCount == 1)
        #expect(Shape(Array(repeating: 1, count: 9)).problem(elementSize: 1) != nil)
        #expect(Shape([1 << 48]).problem(elementSize: 1) != nil)
        #expect(Shape([-1]).problem(elementSize: 1) != nil)
        #expect(Shape([1 << 40, 1 << 23]).problem(elementSize: 8) != nil)
    }

    @Test func displayEscapesWhatSteersTerminals() {
        #expect(escapedForDisplay("a\u{1B}[2J\n\u{202E}b") == "a\\u{1b}[2J\\u{a}\\u{202e}b")
        #expect(escapedForDisplay("abcdef", limit: 3) == "abc…")
    }

    @Test func errorsRenderOnce() {
        let error = LaminaError(
            .damaged, "layers/0000.h5", "checksum differs", expected: "1", found: "2", layer: "0", tensor: "w",
            bytes: 4096..<8192)
        #expect(
            error.description
                == "layers/0000.h5: layer 0: tensor w: checksum differs (bytes 4096..<8192); expected 1, found 2")
    }
}
