/// What keeps a character from being left alone by a normalization.
struct NormalizationFlags: OptionSet, Sendable {
    let rawValue: UInt8

    /// Has a canonical decomposition.
    static let decomposes = NormalizationFlags(rawValue: 1)
    /// Has a compatibility decomposition.
    static let decomposesCompatibly = NormalizationFlags(rawValue: 2)
    /// Has a combining class.
    static let isMark = NormalizationFlags(rawValue: 4)
    /// NFC may change it, or compose it with what stands before.
    static let changesComposed = NormalizationFlags(rawValue: 8)

    /// No character from here on has any of them.
    static let limit = 0x30000
}

/// The four normalization forms of Unicode (UAX #15).
enum NormalizationForm: String, Sendable {
    case nfc = "NFC"
    case nfd = "NFD"
    case nfkc = "NFKC"
    case nfkd = "NFKD"

    private var composes: Bool { self == .nfc || self == .nfkc }
    private var isCompatible: Bool { self == .nfkc || self == .nfkd }

    /// What stops a character from being a boundary that this form copies.
    private var changing: NormalizationFlags {
        switch self {
        case .nfc: [.changesComposed]
        case .nfd: [.decomposes, .isMark]
        case .nfkc: [.changesComposed, .decomposesCompatibly]
        case .nfkd: [.decomposes, .isMark, .decomposesCompatibly]
        }
    }

    /// `text` in this form; `nil` if it is in this form already as far as a quick look tells.
    ///
    /// Characters that stay as they are and join nothing are copied; only the stretches between them are worked on, each
    /// with the character before it, which it may compose with.
    func applied(to text: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
        let tables = UnicodeTables.shared
        let changing = changing
        guard var start = firstChange(in: text, from: 0, tables, changing) else { return nil }
        var output: [UInt8] = []
        output.reserveCapacity(text.count + 16)
        var scratch = Stretch()
        var copied = 0
        while true {
            if start > copied { start -= UTF8Text.scalar(text, before: start).length }
            output.append(contentsOf: text[copied..<start])
            var end = start
            repeat {
                let (scalar, length) = UTF8Text.scalar(text, at: end)
                append(scalar, to: &scratch.scalars, tables)
                end += length
            } while end < text.count && isChanging(text, end, tables, changing)
            scratch.order(tables)
            if composes { scratch.compose(tables) }
            scratch.flush(to: &output)
            copied = end
            guard let next = firstChange(in: text, from: end, tables, changing) else { break }
            start = next
        }
        output.append(contentsOf: text[copied...])
        return output
    }

    @inline(__always)
    private func isChanging(
        _ text: UnsafeBufferPointer<UInt8>, _ position: Int, _ tables: UnicodeTables, _ changing: NormalizationFlags
    ) -> Bool {
        guard text[position] >= 0x80 else { return false }
        let scalar = UTF8Text.scalar(text, at: position).value
        return scalar < NormalizationFlags.limit && !tables.flags[Int(scalar)].isDisjoint(with: changing)
    }

    private func firstChange(
        in text: UnsafeBufferPointer<UInt8>, from start: Int, _ tables: UnicodeTables, _ changing: NormalizationFlags
    ) -> Int? {
        var position = start
        while position < text.count {
            if text[position] < 0x80 {
                position += 1
            } else if isChanging(text, position, tables, changing) {
                return position
            } else {
                position += UTF8Text.length(text[position])
            }
        }
        return nil
    }

    private func append(_ scalar: UInt32, to output: inout [UInt32], _ tables: UnicodeTables) {
        if Hangul.syllables.contains(scalar) { return Hangul.decompose(scalar, into: &output) }
        if isCompatible, let targets = tables.compatible[scalar] {
            output.append(contentsOf: targets)
        } else if let targets = tables.canonical[scalar] {
            output.append(contentsOf: targets)
        } else {
            output.append(scalar)
        }
    }
}

/// Decomposed characters on their way to a normal form.
private struct Stretch {
    var scalars: [UInt32] = []

    /// Puts runs of marks into the order of their combining classes, equal ones as they stood.
    mutating func order(_ tables: UnicodeTables) {
        var start = 0
        while start < scalars.count {
            guard combiningClass(scalars[start], tables) != 0 else {
                start += 1
                continue
            }
            var end = start + 1
            var isOrdered = true
            while end < scalars.count, combiningClass(scalars[end], tables) != 0 {
                if combiningClass(scalars[end], tables) < combiningClass(scalars[end - 1], tables) { isOrdered = false }
                end += 1
            }
            if !isOrdered {
                let run = scalars[start..<end].enumerated().sorted { left, right in
                    let (first, second) = (
                        combiningClass(left.element, tables), combiningClass(right.element, tables)
                    )
                    return first == second ? left.offset < right.offset : first < second
                }
                scalars.replaceSubrange(start..<end, with: run.map(\.element))
            }
            start = end
        }
    }

    private func combiningClass(_ scalar: UInt32, _ tables: UnicodeTables) -> UInt8 {
        tables.combiningClasses[Int(scalar)]
    }

    /// Composes every character with the last starter before it unless another one stands between that blocks it.
    mutating func compose(_ tables: UnicodeTables) {
        var starter: Int?
        var lastClass: UInt8 = 0
        var count = 0
        for scalar in scalars {
            let current = combiningClass(scalar, tables)
            let isAdjacent = starter == count - 1
            if let starter, isAdjacent || lastClass < current && lastClass != 0,
                let composed = Hangul.compose(scalars[starter], scalar)
                    ?? tables.compositions[scalars[starter], scalar]?.id
            {
                scalars[starter] = composed
                continue
            }
            scalars[count] = scalar
            if current == 0 { starter = count }
            lastClass = current
            count += 1
        }
        scalars.removeLast(scalars.count - count)
    }

    mutating func flush(to output: inout [UInt8]) {
        for scalar in scalars { UTF8Text.append(scalar, to: &output) }
        scalars.removeAll(keepingCapacity: true)
    }
}
