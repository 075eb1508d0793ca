import TensorCore

/// Writes spaces as another character, mostly U+2581, puts one in front, and cuts before each.
struct Metaspace: Sendable {
    /// Where the character is put in front of text that does not start with it.
    enum PrependScheme: String, CaseIterable, Sendable {
        /// At the start of the whole text.
        case first
        case never
        case always
    }

    /// One character.
    var replacement: [UInt8]
    var prependScheme: PrependScheme
    var cuts: Bool

    func split(
        _ text: UnsafeBufferPointer<UInt8>, _ isAtStart: Bool, _ emit: PreTokenizer.Sink
    ) throws(LaminaError) {
        var written: [UInt8] = []
        written.reserveCapacity(text.count + text.count / 2 + 3)
        let prepends = prependScheme == .always || prependScheme == .first && isAtStart
        let startsSpaced = text.first == UInt8(ascii: " ") || text.starts(with: replacement)
        if prepends, !startsSpaced { written += replacement }
        for byte in text {
            if byte == UInt8(ascii: " ") { written += replacement } else { written.append(byte) }
        }
        try written.withUnsafeBufferPointer { (written) throws(LaminaError) in
            guard cuts else { return try emit(written, isAtStart) }
            var cutter = SplitCutter(text: written, isAtStart: isAtStart, behavior: .mergedWithNext, invert: false)
            try TextPattern.literal(replacement).forEachMatch(in: written) { (match) throws(LaminaError) in
                try cutter.add(match, emit)
            }
            try cutter.finish(emit)
        }
    }
}
