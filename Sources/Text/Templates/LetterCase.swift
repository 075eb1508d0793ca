/// Python's changes of case, which follow Unicode's full mappings.
extension Array where Element == Unicode.Scalar {
    func uppercasedScalars() -> Scalars {
        flatMap { $0.isASCII ? [$0.asciiUppercased] : Scalars($0.properties.uppercaseMapping) }
    }

    func lowercasedScalars() -> Scalars {
        var result: Scalars = []
        result.reserveCapacity(count)
        for index in indices { appendLowercased(index, to: &result) }
        return result
    }

    private func appendLowercased(_ index: Int, to result: inout Scalars) {
        let scalar = self[index]
        if scalar.isASCII {
            result.append(scalar.asciiLowercased)
        } else if scalar == "\u{3A3}" {
            result.append(isFinalSigma(index) ? "\u{3C2}" : "\u{3C3}")
        } else {
            result += Scalars(scalar.properties.lowercaseMapping)
        }
    }

    /// Whether the sigma at `index` ends a word: a cased letter before it and none after, ignoring marks.
    private func isFinalSigma(_ index: Int) -> Bool {
        let before = self[..<index].last { !$0.properties.isCaseIgnorable }
        let after = self[(index + 1)...].first { !$0.properties.isCaseIgnorable }
        return before?.properties.isCased == true && after?.properties.isCased != true
    }

    /// For comparisons without regard to case: the lower case of the upper case, which agrees with Unicode's folding
    /// for all letters in use.
    func foldedScalars() -> Scalars { uppercasedScalars().lowercasedScalars().map { $0 == "\u{3C2}" ? "\u{3C3}" : $0 } }

    /// First character in title case, the others in lower case.
    func capitalizedScalars() -> Scalars {
        guard let first else { return [] }
        var result = first.isASCII ? [first.asciiUppercased] : Scalars(first.properties.titlecaseMapping)
        for index in indices.dropFirst() { appendLowercased(index, to: &result) }
        return result
    }

    /// Every first letter of a run of letters in title case, the others in lower case.
    func titlecasedScalars() -> Scalars {
        var result: Scalars = []
        var isInside = false
        for (index, scalar) in enumerated() {
            if isInside {
                appendLowercased(index, to: &result)
            } else {
                result += scalar.isASCII ? [scalar.asciiUppercased] : Scalars(scalar.properties.titlecaseMapping)
            }
            isInside = scalar.properties.isCased
        }
        return result
    }

    func swappedCaseScalars() -> Scalars {
        var result: Scalars = []
        for (index, scalar) in enumerated() {
            if scalar.properties.isUppercase {
                appendLowercased(index, to: &result)
            } else if scalar.properties.isLowercase {
                result += Scalars(scalar.properties.uppercaseMapping)
            } else {
                result.append(scalar)
            }
        }
        return result
    }

    private var hasTitlecase: Bool { contains { $0.properties.generalCategory == .titlecaseLetter } }

    var isPythonUpper: Bool {
        !hasTitlecase && contains { $0.properties.isUppercase } && !contains { $0.properties.isLowercase }
    }

    var isPythonLower: Bool {
        !hasTitlecase && contains { $0.properties.isLowercase } && !contains { $0.properties.isUppercase }
    }

    var isPythonTitle: Bool {
        var isInside = false
        var hasCased = false
        for scalar in self {
            let isUpper = scalar.properties.isUppercase || scalar.properties.generalCategory == .titlecaseLetter
            let isLower = scalar.properties.isLowercase
            if (isUpper && isInside) || (isLower && !isInside) { return false }
            isInside = isUpper || isLower
            hasCased = hasCased || isInside
        }
        return hasCased
    }
}

extension Unicode.Scalar {
    fileprivate var asciiUppercased: Unicode.Scalar {
        (0x61...0x7A).contains(value) ? Unicode.Scalar(UInt8(value) - 0x20) : self
    }

    fileprivate var asciiLowercased: Unicode.Scalar {
        (0x41...0x5A).contains(value) ? Unicode.Scalar(UInt8(value) + 0x20) : self
    }
}
