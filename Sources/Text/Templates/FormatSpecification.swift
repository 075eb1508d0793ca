/// How one value is laid out by `%` or by `format`.
struct FormatSpecification {
    enum Alignment { case left, right, center, afterSign }

    /// Widest field and most digits accepted: a bound on memory far above any use.
    static let maximumWidth = 1 << 20
    static let maximumPrecision = 1000

    var fill: Unicode.Scalar = " "
    var alignment: Alignment?
    /// "+", "-" or " ": what stands before numbers that are not negative.
    var sign: Unicode.Scalar = "-"
    var isAlternate = false
    var width = 0
    var grouping: Unicode.Scalar?
    var precision: Int?
    var type: Unicode.Scalar?

    /// `text` filled to the width.
    func padded(_ text: Scalars, sign: Scalars = [], default fallback: Alignment) -> Scalars {
        let missing = max(0, width - text.count - sign.count)
        let filling = { (count: Int) in Scalars(repeating: fill, count: count) }
        switch alignment ?? fallback {
        case .left: return sign + text + filling(missing)
        case .right: return filling(missing) + sign + text
        case .center: return filling(missing / 2) + sign + text + filling(missing - missing / 2)
        case .afterSign: return sign + filling(missing) + text
        }
    }

    private func signText(isNegative: Bool) -> Scalars {
        isNegative ? ["-"] : sign == "-" ? [] : [sign]
    }

    /// A whole number in the base of the type.
    func formatted(_ value: Int) throws(TemplateFailure) -> Scalars {
        let (radix, prefix): (Int, String) =
            switch type {
            case "x": (16, "0x")
            case "X": (16, "0X")
            case "o": (8, "0o")
            case "b": (2, "0b")
            case nil, "d", "i", "u", "n": (10, "")
            default: throw TemplateFailure("a whole number has no format '\(type.map(String.init) ?? "")'")
            }
        var digits = String(value.magnitude, radix: radix, uppercase: type == "X")
        if let precision { digits = String(repeating: "0", count: max(0, precision - digits.count)) + digits }
        let grouped = FormatSpecification.grouped(digits, by: grouping, every: radix == 10 ? 3 : 4)
        let sign = signText(isNegative: value < 0) + (isAlternate ? Scalars(prefix) : [])
        return padded(zeroFilled(Scalars(grouped), sign), sign: sign, default: .right)
    }

    /// With a grouping, zeros that fill are grouped, too.
    private func zeroFilled(_ digits: Scalars, _ sign: Scalars) -> Scalars {
        guard let grouping, fill == "0", alignment == .afterSign else { return digits }
        var digits = digits
        let whole = digits.prefix { $0 != "." && $0 != "e" }.count
        var count = whole - digits.prefix(whole).count { $0 == grouping }
        while digits.count + sign.count < width {
            if count % 3 == 0 { digits.insert(grouping, at: 0) }
            digits.insert("0", at: 0)
            count += 1
        }
        return digits
    }

    private static func grouped(_ digits: String, by separator: Unicode.Scalar?, every count: Int) -> String {
        guard let separator else { return digits }
        var result: Scalars = []
        for (index, digit) in digits.unicodeScalars.reversed().enumerated() {
            if index > 0, index % count == 0 { result.append(separator) }
            result.append(digit)
        }
        return String(result.reversed())
    }

    /// A floating-point number.
    func formatted(_ value: Double) throws(TemplateFailure) -> Scalars {
        let digits = try magnitude(value.magnitude)
        let whole = digits.prefix { $0.isNumber }
        let grouped = FormatSpecification.grouped(String(whole), by: grouping, every: 3) + digits.dropFirst(whole.count)
        let sign = signText(isNegative: value.sign == .minus && !value.isNaN)
        return padded(zeroFilled(Scalars(grouped), sign), sign: sign, default: .right)
    }

    private func magnitude(_ value: Double) throws(TemplateFailure) -> String {
        let kind = type ?? "r"
        let isUpper = ("A"..."Z").contains(kind)
        guard value.isFinite else {
            let text = (value.isNaN ? "nan" : "inf") + (kind == "%" ? "%" : "")
            return isUpper ? text.uppercased() : text
        }
        let flag = isAlternate ? "#" : ""
        switch kind {
        case "e", "E", "f", "F", "g", "G":
            return PythonNumber.formatted("%\(flag).*\(kind)", precision: precision ?? 6, value)
        case "n": return PythonNumber.formatted("%\(flag).*g", precision: precision ?? 6, value)
        case "%": return PythonNumber.formatted("%\(flag).*f", precision: precision ?? 6, value * 100) + "%"
        case "r":
            guard let precision else { return PythonNumber.text(value) }
            // Like g, but with a digit after the point, or an exponent.
            let text = PythonNumber.formatted("%\(flag).*g", precision: precision, value)
            guard !text.contains("."), !text.contains("e") else { return text }
            return text.count >= max(1, precision)
                ? PythonNumber.formatted("%.*e", precision: max(0, precision - 1), value).withoutTrailingZeros
                : text + ".0"
        default: throw TemplateFailure("a number has no format '\(kind)'")
        }
    }
}

extension String {
    /// A number with an exponent, without zeros at the end of its fraction.
    fileprivate var withoutTrailingZeros: String {
        guard let mark = firstIndex(of: "e"), contains(".") else { return self }
        var mantissa = self[..<mark]
        while mantissa.last == "0" { mantissa.removeLast() }
        if mantissa.last == "." { mantissa.removeLast() }
        return String(mantissa + self[mark...])
    }
}
