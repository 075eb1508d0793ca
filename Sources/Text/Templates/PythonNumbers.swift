import Glibc

/// How two values stand to each other.
enum ValueOrder {
    case less, equal, greater
    /// Not a number is neither.
    case unordered
}

extension TemplateValue {
    /// The value as a whole number; truth values are 0 and 1.
    var asInteger: Int? {
        switch self {
        case .integer(let value): value
        case .bool(let value): value ? 1 : 0
        default: nil
        }
    }

    /// The value as a floating-point number, if it is a number.
    var asDouble: Double? {
        if case .float(let value) = self { return value }
        return asInteger.map(Double.init)
    }

    var isNumber: Bool { asDouble != nil }

    /// The exact order of two numbers; `nil` if one is no number.
    func numericOrder(_ other: TemplateValue) -> ValueOrder? {
        switch (asInteger, other.asInteger) {
        case (let left?, let right?): return left < right ? .less : left == right ? .equal : .greater
        case (let left?, nil):
            guard case .float(let right) = other else { return nil }
            return TemplateValue.order(left, right)
        case (nil, let right?):
            guard case .float(let left) = self else { return nil }
            switch TemplateValue.order(right, left) {
            case .less: return .greater
            case .greater: return .less
            case let order: return order
            }
        case (nil, nil):
            guard case .float(let left) = self, case .float(let right) = other else { return nil }
            return left < right ? .less : left == right ? .equal : left > right ? .greater : .unordered
        }
    }

    /// Converting the whole number could round it, so the other one is split instead.
    private static func order(_ integer: Int, _ double: Double) -> ValueOrder {
        if double.isNaN { return .unordered }
        if double >= 0x1p63 { return .less }
        if double < -0x1p63 { return .greater }
        let whole = Int(double.rounded(.down))
        if integer != whole { return integer < whole ? .less : .greater }
        return double == double.rounded(.down) ? .equal : .less
    }
}

/// Python's arithmetic and texts of numbers.
enum PythonNumber {
    static let overflow = TemplateFailure("a whole number does not fit into 64 bits")

    /// The shortest text that reads back as the same number, as Python's `repr` writes it.
    static func text(_ value: Double) -> String {
        if value.isNaN { return "nan" }
        if value.isInfinite { return value < 0 ? "-inf" : "inf" }
        let sign = value.sign == .minus ? "-" : ""
        let (digits, exponent) = shortestDigits(value.magnitude)
        // The number is 0.DIGITS times ten to the exponent.
        if exponent > 16 || exponent < -3 {
            let power = exponent - 1
            let fraction = digits.count > 1 ? "." + digits.dropFirst() : ""
            let magnitude = abs(power) < 10 ? "0\(abs(power))" : "\(abs(power))"
            return sign + digits.prefix(1) + fraction + "e" + (power < 0 ? "-" : "+") + magnitude
        }
        if exponent <= 0 { return sign + "0." + String(repeating: "0", count: -exponent) + digits }
        if digits.count <= exponent {
            return sign + digits + String(repeating: "0", count: exponent - digits.count) + ".0"
        }
        return sign + digits.prefix(exponent) + "." + digits.dropFirst(exponent)
    }

    /// The digits of Swift's own shortest text, without zeros at the ends, and where the point stands before them.
    private static func shortestDigits(_ value: Double) -> (digits: String, exponent: Int) {
        guard value != 0 else { return ("0", 1) }
        var text = Substring("\(value)")
        var exponent = 0
        if let mark = text.firstIndex(of: "e") {
            exponent = Int(text[text.index(after: mark)...]) ?? 0
            text = text[..<mark]
        }
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        var digits = parts.joined()[...]
        exponent += parts[0].count
        while digits.first == "0" {
            digits.removeFirst()
            exponent -= 1
        }
        while digits.last == "0", digits.count > 1 { digits.removeLast() }
        return (String(digits), exponent)
    }

    /// A number in C's `format`, which has one `*` for the precision and takes a double.
    static func formatted(_ format: String, precision: Int, _ value: Double) -> String {
        // The longest: 309 digits before the point, and the fraction.
        var buffer = [CChar](repeating: 0, count: 400 + precision)
        _ = withVaList([Int32(precision), value]) { vsnprintf(&buffer, buffer.count, format, $0) }
        return String(decoding: buffer.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    /// `left // right`. Throws for zero and for a result beyond 64 bits.
    static func floorDivide(_ left: Int, _ right: Int) throws(TemplateFailure) -> Int {
        guard right != 0 else { throw TemplateFailure("division by zero") }
        let (quotient, overflows) = left.dividedReportingOverflow(by: right)
        guard !overflows else { throw overflow }
        return left % right != 0 && (left < 0) != (right < 0) ? quotient - 1 : quotient
    }

    /// `left % right`, which has the sign of `right`.
    static func modulo(_ left: Int, _ right: Int) throws(TemplateFailure) -> Int {
        guard right != 0 else { throw TemplateFailure("division by zero") }
        guard right != -1 else { return 0 }
        let rest = left % right
        return rest != 0 && (rest < 0) != (right < 0) ? rest + right : rest
    }

    static func modulo(_ left: Double, _ right: Double) throws(TemplateFailure) -> Double {
        guard right != 0 else { throw TemplateFailure("division by zero") }
        let rest = left.truncatingRemainder(dividingBy: right)
        if rest == 0 { return Double(signOf: right, magnitudeOf: 0) }
        return (rest < 0) != (right < 0) ? rest + right : rest
    }

    static func floorDivide(_ left: Double, _ right: Double) throws(TemplateFailure) -> Double {
        guard right != 0 else { throw TemplateFailure("division by zero") }
        let rest = left.truncatingRemainder(dividingBy: right)
        let quotient = (left - rest) / right - (rest != 0 && (rest < 0) != (right < 0) ? 1 : 0)
        if quotient == 0 { return Double(signOf: left / right, magnitudeOf: 0) }
        let floor = quotient.rounded(.down)
        return quotient - floor > 0.5 ? floor + 1 : floor
    }

    /// `base ** exponent` for whole numbers, a negative exponent excluded. Throws beyond 64 bits.
    static func power(_ base: Int, _ exponent: Int) throws(TemplateFailure) -> Int {
        if base == 0 || base == 1 { return exponent == 0 ? 1 : base }
        if base == -1 { return exponent % 2 == 0 ? 1 : -1 }
        guard exponent < 64 else { throw overflow }
        var result = 1
        for _ in 0..<exponent {
            let (product, overflows) = result.multipliedReportingOverflow(by: base)
            guard !overflows else { throw overflow }
            result = product
        }
        return result
    }

    /// Throws where Python gives a complex number, or an error.
    static func power(_ base: Double, _ exponent: Double) throws(TemplateFailure) -> Double {
        guard base != 0 || exponent >= 0 else { throw TemplateFailure("zero to a negative power") }
        guard base >= 0 || exponent == exponent.rounded() || !base.isFinite || !exponent.isFinite else {
            throw TemplateFailure("a root of a negative number")
        }
        let result = pow(base, exponent)
        guard result.isFinite || !base.isFinite || !exponent.isFinite else {
            throw TemplateFailure("a number is too large")
        }
        return result
    }

    /// A whole number in a text, as Python's `int` reads it: white space around it, single underscores between
    /// digits, and with base 16, 8 and 2 a prefix; base 0 goes by the prefix. `nil` if there is none, or if it does
    /// not fit into 64 bits.
    static func integer(_ text: Scalars, base: Int = 10) -> Int? {
        var digits = text.trimmed(leading: true, trailing: true, \.isPythonSpace).map(asciiDigit)[...]
        var isNegative = false
        if let sign = digits.first, sign == "-" || sign == "+" {
            isNegative = sign == "-"
            digits.removeFirst()
        }
        var base = base
        let prefixes: [(Scalars, Int)] = [(["0", "x"], 16), (["0", "o"], 8), (["0", "b"], 2)]
        for (prefix, radix) in prefixes where base == radix || base == 0 {
            let start = Scalars(digits.prefix(2)).lowercasedScalars()
            guard start == prefix else { continue }
            digits = digits.dropFirst(2)
            if digits.first == "_" { digits.removeFirst() }
            base = radix
        }
        if base == 0 {
            // Without a prefix a leading zero is only allowed in front of zeros.
            guard digits.first != "0" || digits.allSatisfy({ $0 == "0" || $0 == "_" }) else { return nil }
            base = 10
        }
        guard let plain = withoutUnderscores(digits) else { return nil }
        return Int((isNegative ? "-" : "") + plain, radix: base)
    }

    /// A floating-point number in a text, as Python's `float` reads it.
    static func double(_ text: Scalars) -> Double? {
        let digits = text.trimmed(leading: true, trailing: true, \.isPythonSpace).map(asciiDigit)
        guard let plain = withoutUnderscores(digits[...], allowsSign: true)?.lowercased() else { return nil }
        let magnitude = plain.drop { $0 == "-" || $0 == "+" }
        guard plain.count - magnitude.count <= 1 else { return nil }
        let sign: Double = plain.hasPrefix("-") ? -1 : 1
        switch magnitude {
        case "inf", "infinity": return sign * .infinity
        case "nan": return .nan
        default: break
        }
        // Swift also reads hexadecimal, and neither "1." nor ".5".
        guard magnitude.allSatisfy({ "0123456789.e+-".contains($0) }) else { return nil }
        guard let first = magnitude.first(where: { $0 != "." }), first.isNumber else { return nil }
        var mantissa = magnitude.prefix { $0 != "e" }
        let exponent = magnitude.dropFirst(mantissa.count)
        if mantissa.last == "." { mantissa.removeLast() }
        let whole = mantissa.hasPrefix(".") ? "0" + mantissa : String(mantissa)
        return Double(whole + exponent).map { sign * $0 }
    }

    private static func asciiDigit(_ scalar: Unicode.Scalar) -> Unicode.Scalar {
        guard !scalar.isASCII, scalar.isPythonDecimal, let value = scalar.properties.numericValue else { return scalar }
        return Unicode.Scalar(UInt8(value) + 0x30)
    }

    /// `nil` if an underscore is not between two digits.
    private static func withoutUnderscores(_ digits: ArraySlice<Unicode.Scalar>, allowsSign: Bool = false) -> String? {
        var result: Scalars = []
        var previous: Unicode.Scalar?
        for (index, digit) in zip(digits.indices, digits) {
            if digit == "_" {
                guard let previous, previous.isPythonAlphanumeric, index + 1 < digits.endIndex,
                    digits[index + 1].isPythonAlphanumeric
                else { return nil }
            } else {
                guard digit.isASCII, allowsSign || (digit != "+" && digit != "-") else { return nil }
                result.append(digit)
            }
            previous = digit
        }
        return result.isEmpty ? nil : String(result)
    }

    /// `round(value, digits)`: to even where two are as near, by the number's exact value.
    static func rounded(_ value: Double, digits: Int) -> Double {
        guard value.isFinite, digits < 400 else { return value }
        if digits >= 0 {
            return Double(formatted("%.*f", precision: digits, value)) ?? value
        }
        guard digits > -310 else { return Double(signOf: value, magnitudeOf: 0) }
        let scale = pow(10, Double(-digits))
        return (value / scale).rounded(.toNearestOrEven) * scale
    }

    /// `round(value, digits)` of a whole number for negative `digits`. Throws beyond 64 bits.
    static func rounded(_ value: Int, digits: Int) throws(TemplateFailure) -> Int {
        guard digits < 0 else { return value }
        guard digits > -19 else { return 0 }
        let scale = try power(10, -digits)
        let quotient = try floorDivide(value, scale)
        let rest = value - quotient * scale
        let roundsUp = rest > scale - rest || (rest == scale - rest && quotient % 2 != 0)
        let (result, overflows) = (quotient + (roundsUp ? 1 : 0)).multipliedReportingOverflow(by: scale)
        guard !overflows else { throw overflow }
        return result
    }
}
