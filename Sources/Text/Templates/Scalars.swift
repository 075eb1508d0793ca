/// A text as Python sees it: a sequence of code points, compared, counted and cut by code point. (`String` compares by
/// canonical equivalence and counts grapheme clusters.)
typealias Scalars = [Unicode.Scalar]

extension Array where Element == Unicode.Scalar {
    init(_ text: String) { self = Array(text.unicodeScalars) }

    /// Number of bytes in UTF-8.
    var utf8Count: Int { reduce(0) { $0 + UTF8.width($1) } }

    /// Where `needle` first occurs at or after `start`, in time proportional to both lengths whatever they hold
    /// (Knuth, Morris and Pratt, "Fast pattern matching in strings", 1977).
    func firstRange(of needle: Scalars, from start: Int = 0) -> Int? {
        guard needle.count > 1 else {
            guard let only = needle.first else { return start <= count ? start : nil }
            return start < count ? self[start...].firstIndex(of: only) : nil
        }
        guard start + needle.count <= count else { return nil }
        let fallback = needle.borders()
        var matched = 0
        for index in start..<count {
            while matched > 0, self[index] != needle[matched] { matched = fallback[matched - 1] }
            if self[index] == needle[matched] { matched += 1 }
            if matched == needle.count { return index + 1 - matched }
        }
        return nil
    }

    /// For every prefix the length of its longest proper prefix that is also its suffix.
    private func borders() -> [Int] {
        var borders = [Int](repeating: 0, count: count)
        var length = 0
        for index in indices.dropFirst() {
            while length > 0, self[index] != self[length] { length = borders[length - 1] }
            if self[index] == self[length] { length += 1 }
            borders[index] = length
        }
        return borders
    }

    /// Where `needle` last occurs so that it ends at or before `end`.
    func lastRange(of needle: Scalars, from start: Int, to end: Int) -> Int? {
        guard start <= end, needle.count <= end - start else { return nil }
        let backwards = Scalars(self[start..<end].reversed())
        guard let found = backwards.firstRange(of: Scalars(needle.reversed())) else { return nil }
        return end - found - needle.count
    }

    /// All places where `needle` (not empty) occurs without overlap, from the left, at most `limit`.
    func ranges(of needle: Scalars, limit: Int = .max) -> [Int] {
        var places: [Int] = []
        var start = 0
        guard !needle.isEmpty, needle.count <= count else { return places }
        if needle.count == 1 {
            while places.count < limit, let place = firstRange(of: needle, from: start) {
                places.append(place)
                start = place + 1
            }
            return places
        }
        let fallback = needle.borders()
        var matched = 0
        for index in indices where places.count < limit {
            while matched > 0, self[index] != needle[matched] { matched = fallback[matched - 1] }
            if self[index] == needle[matched] { matched += 1 }
            if matched == needle.count {
                places.append(index + 1 - matched)
                matched = 0
            }
        }
        return places
    }

    /// The text with `old` replaced, at most `limit` times. An empty `old` stands between all characters.
    func replacing(_ old: Scalars, with new: Scalars, limit: Int) -> Scalars {
        var result: Scalars = []
        if old.isEmpty {
            for (index, scalar) in enumerated() {
                if index < limit { result += new }
                result.append(scalar)
            }
            return count < limit ? result + new : result
        }
        var start = 0
        for place in ranges(of: old, limit: limit) {
            result += self[start..<place]
            result += new
            start = place + old.count
        }
        return result + self[start...]
    }

    /// Without the characters at the ends for which `isDropped` holds.
    func trimmed(leading: Bool, trailing: Bool, _ isDropped: (Unicode.Scalar) -> Bool) -> Scalars {
        var start = 0
        var end = count
        if leading { while start < end, isDropped(self[start]) { start += 1 } }
        if trailing { while end > start, isDropped(self[end - 1]) { end -= 1 } }
        return Scalars(self[start..<end])
    }

    /// The lines, cut where Python's `splitlines` cuts.
    func lines(keepingEnds: Bool = false) -> [Scalars] {
        var lines: [Scalars] = []
        var start = 0
        var index = 0
        while index < count {
            guard self[index].isPythonLineBreak else {
                index += 1
                continue
            }
            let end = index
            index += self[index] == "\r" && index + 1 < count && self[index + 1] == "\n" ? 2 : 1
            lines.append(Scalars(self[start..<(keepingEnds ? index : end)]))
            start = index
        }
        if start < count { lines.append(Scalars(self[start...])) }
        return lines
    }
}

extension Sequence where Element == Scalars {
    /// The texts with `separator` between.
    func joined(by separator: Scalars) -> Scalars {
        var result: Scalars = []
        for (index, part) in enumerated() {
            if index > 0 { result += separator }
            result += part
        }
        return result
    }
}

extension String {
    init(_ scalars: some Sequence<Unicode.Scalar>) {
        var view = String.UnicodeScalarView()
        for scalar in scalars { view.append(scalar) }
        self = String(view)
    }
}

extension Unicode.Scalar {
    /// What `str.isspace` calls space: separators of category Zs, and the controls that break or separate text.
    var isPythonSpace: Bool {
        switch value {
        case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0: true
        case 0..<0x1680: false
        case 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: true
        default: false
        }
    }

    /// Where `str.splitlines` cuts.
    var isPythonLineBreak: Bool {
        switch value {
        case 0x0A...0x0D, 0x1C...0x1E, 0x85, 0x2028, 0x2029: true
        default: false
        }
    }

    var isASCIIDigit: Bool { (0x30...0x39).contains(value) }

    var isPythonLetter: Bool {
        switch properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
        default: false
        }
    }

    var isPythonDecimal: Bool { properties.numericType == .decimal }
    var isPythonDigit: Bool { properties.numericType == .decimal || properties.numericType == .digit }
    var isPythonAlphanumeric: Bool { isPythonLetter || properties.numericType != nil }

    /// What `repr` shows as it is.
    var isPythonPrintable: Bool {
        if value < 0x7F { return value >= 0x20 }
        switch properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
            .spaceSeparator:
            return false
        default: return true
        }
    }
}
