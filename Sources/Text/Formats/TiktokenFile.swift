import TensorCore

/// A rank file: on every line a token in base64 and its rank, which is its id.
struct TiktokenFile {
    /// Longest token accepted, in bytes: every split of a token is a merge.
    private static let longestToken = 512

    private(set) var vocabulary = Vocabulary()

    /// Throws `.malformed` if a line is something else, or a token or rank occurs twice.
    init(_ bytes: [UInt8]) throws(LaminaError) {
        var token: [UInt8] = []
        var start = 0
        var number = 1
        vocabulary.reserveCapacity(tokens: bytes.count / 16, bytes: bytes.count / 2)
        while start < bytes.count {
            let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) ?? bytes.count
            if end > start {
                let rank = try TiktokenFile.parse(bytes[start..<end], number, &token)
                try token.withUnsafeBufferPointer { (token) throws(LaminaError) in
                    try vocabulary.insert(token, id: rank, where: "line \(number)")
                }
            }
            start = end + 1
            number += 1
        }
        guard vocabulary.count > 0 else { throw LaminaError(.malformed, "", "no tokens") }
    }

    private static func parse(
        _ line: ArraySlice<UInt8>, _ number: Int, _ token: inout [UInt8]
    ) throws(LaminaError) -> Int {
        let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
        let halves = line.split(separator: UInt8(ascii: " "), maxSplits: 1, omittingEmptySubsequences: false)
        guard halves.count == 2, let rank = Int(String(decoding: halves[1], as: UTF8.self)), rank >= 0,
            decode(halves[0], &token), !token.isEmpty
        else { throw LaminaError(.malformed, "", "line \(number) is not a token in base64 and its rank") }
        guard token.count <= longestToken else {
            throw LaminaError(
                .malformed, "", "the token on line \(number) is too long", expected: "at most \(longestToken) bytes",
                found: "\(token.count)")
        }
        return rank
    }

    /// The value of every base64 digit, 64 for other characters.
    private static let digits: [UInt8] = {
        var digits = [UInt8](repeating: 64, count: 256)
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        for (value, character) in alphabet.utf8.enumerated() { digits[Int(character)] = UInt8(value) }
        return digits
    }()

    private static func decode(_ text: ArraySlice<UInt8>, _ output: inout [UInt8]) -> Bool {
        output.removeAll(keepingCapacity: true)
        let digits = digits
        var bits: UInt32 = 0
        var count = 0
        var padding = 0
        for character in text {
            if character == UInt8(ascii: "=") {
                padding += 1
                continue
            }
            guard padding == 0, digits[Int(character)] < 64 else { return false }
            bits = bits << 6 | UInt32(digits[Int(character)])
            count += 6
            if count >= 8 {
                count -= 8
                output.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return text.count % 4 == 0 && padding <= 2
    }

    /// The model: any two symbols merge that together are a token, the one of the lowest rank first. Throws
    /// `.malformed` if a byte has no token.
    func model() throws(LaminaError) -> ByteLevelModel {
        var symbols: [UInt32] = []
        for byte in 0...UInt8.max {
            guard let id = vocabulary.id(of: [byte]) else {
                throw LaminaError(.malformed, "", "no token for byte \(byte)")
            }
            symbols.append(UInt32(truncatingIfNeeded: id))
        }
        var engine = MergeEngine(minimumCapacity: vocabulary.count * 2)
        vocabulary.forEachToken { token, id in
            let id = UInt32(truncatingIfNeeded: id)
            for middle in 1..<max(token.count, 1) {
                guard let left = vocabulary.id(of: UnsafeBufferPointer(rebasing: token[..<middle])),
                    let right = vocabulary.id(of: UnsafeBufferPointer(rebasing: token[middle...]))
                else { continue }
                engine.add(
                    UInt32(truncatingIfNeeded: left), UInt32(truncatingIfNeeded: right), rank: id, joined: id)
            }
        }
        return ByteLevelModel(
            byteSymbols: symbols, vocabulary: vocabulary, engine: engine, wholePieces: .asBytes)
    }
}
