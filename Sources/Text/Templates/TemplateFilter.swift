/// Filters by their names in Jinja. Left out are `random`, whose result nobody could test, and `pprint`, `urlize`,
/// `wordwrap` and `xmlattr`, which lay out for people and for HTML.
enum TemplateFilter: String, Sendable {
    case abs, attr, batch, capitalize, center, count, d, `default`, dictsort, e, escape, filesizeformat, first, float
    case forceescape, format, groupby, indent, int, items, join, last, length, list, lower, map, max, min, reject
    case rejectattr, replace, reverse, round, safe, select, selectattr, slice, sort, string, striptags, sum, title
    case tojson, trim, truncate, unique, upper, urlencode, wordcount

    static func unknown(_ name: String) -> TemplateFailure { TemplateFailure("there is no filter '\(name)'") }
}

extension TemplateInterpreter {
    func apply(
        _ filter: TemplateFilter, to value: TemplateValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue {
        if let result = try textFilter(filter, value, arguments) { return result }
        if let result = try numberFilter(filter, value, arguments) { return result }
        if let result = try selectionFilter(filter, value, arguments) { return result }
        return try sequenceFilter(filter, value, arguments)
    }

    private func numberFilter(
        _ filter: TemplateFilter, _ value: TemplateValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue? {
        switch filter {
        case .abs:
            try arguments.requireNone("abs")
            return try magnitude(value)
        case .int: return try integer(value, arguments)
        case .float:
            let fallback = try arguments.values(of: "float", ["default"])[0] ?? .float(0)
            if case .undefined(let undefined) = value { throw undefined.failure }
            if let text = value.scalars { return PythonNumber.double(text).map(TemplateValue.float) ?? fallback }
            return value.asDouble.map(TemplateValue.float) ?? fallback
        case .round: return try rounded(value, arguments)
        case .filesizeformat:
            let binary = try arguments.values(of: "filesizeformat", ["binary"])[0]?.isTrue ?? false
            return try fileSize(value, binary: binary)
        case .tojson:
            var writer = try JSONTextWriter(self, arguments)
            try writer.write(value)
            return try string(writer.output)
        case .default, .d:
            let values = try arguments.values(of: "default", ["default_value", "boolean"])
            let applies = value.isUndefined || (values[1]?.isTrue == true && !value.isTrue)
            return applies ? values[0] ?? .text("") : value
        case .length, .count:
            try arguments.requireNone(filter.rawValue)
            guard let length = length(of: value) else { throw TemplateFailure("a \(value.typeName) has no length") }
            return .integer(length)
        default: return nil
        }
    }

    private func magnitude(_ value: TemplateValue) throws(TemplateFailure) -> TemplateValue {
        if case .undefined(let undefined) = value { throw undefined.failure }
        if case .float(let double) = value { return .float(double.magnitude) }
        guard let integer = value.asInteger else {
            throw TemplateFailure("'abs' needs a number", found: value.typeName)
        }
        guard integer != .min else { throw PythonNumber.overflow }
        return .integer(Swift.abs(integer))
    }

    private func integer(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        let values = try arguments.values(of: "int", ["default", "base"])
        let fallback = values[0] ?? .integer(0)
        if case .undefined(let undefined) = value { throw undefined.failure }
        if let integer = value.asInteger { return .integer(integer) }
        var double = value.asDouble
        if let text = value.scalars {
            let base = try values[1]?.integer("a base") ?? 10
            // A base that there is not makes Python fall back to reading a number with a fraction.
            if base == 0 || (2...36).contains(base), let integer = PythonNumber.integer(text, base: base) {
                return .integer(integer)
            }
            double = PythonNumber.double(text)
        }
        if case .float(let infinite) = value, infinite.isInfinite { throw PythonNumber.overflow }
        guard let double, double.isFinite else { return fallback }
        guard let integer = Int(exactly: double.rounded(.towardZero)) else { throw PythonNumber.overflow }
        return .integer(integer)
    }

    private func rounded(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        let values = try arguments.values(of: "round", ["precision", "method"])
        let precision = try values[0]?.integer("the precision") ?? 0
        let method = try values[1].map { (value) throws(TemplateFailure) in String(try value.text("the method")) }
        if case .undefined(let undefined) = value { throw undefined.failure }
        guard let double = value.asDouble else {
            throw TemplateFailure("'round' needs a number", found: value.typeName)
        }
        switch method ?? "common" {
        case "common":
            if let integer = value.asInteger { return .integer(try PythonNumber.rounded(integer, digits: precision)) }
            return .float(PythonNumber.rounded(double, digits: precision))
        case "ceil", "floor":
            guard precision.magnitude < 300, double.isFinite else { throw TemplateFailure("'round' cannot do this") }
            let scale = try PythonNumber.power(10.0, Double(precision))
            return .float((double * scale).rounded(method == "ceil" ? .up : .down) / scale)
        default:
            throw TemplateFailure("the method of 'round' is unknown", expected: "common, ceil or floor")
        }
    }

    private func fileSize(_ value: TemplateValue, binary: Bool) throws(TemplateFailure) -> TemplateValue {
        if case .undefined(let undefined) = value { throw undefined.failure }
        guard let bytes = value.asDouble ?? value.scalars.flatMap(PythonNumber.double), bytes.isFinite else {
            throw TemplateFailure("'filesizeformat' needs a number", found: value.typeName)
        }
        let base: Double = binary ? 1024 : 1000
        if bytes == 1 { return .text("1 Byte") }
        if bytes < base {
            guard bytes > -0x1p62 else { throw PythonNumber.overflow }
            return .text("\(Int(bytes)) Bytes")
        }
        let letters = binary ? ["K", "M", "G", "T", "P", "E", "Z", "Y"] : ["k", "M", "G", "T", "P", "E", "Z", "Y"]
        var unit = base
        var place = 0
        while place < letters.count - 1, bytes >= unit * base {
            unit *= base
            place += 1
        }
        let size = PythonNumber.formatted("%.*f", precision: 1, base * bytes / (unit * base))
        return .text("\(size) \(letters[place])\(binary ? "iB" : "B")")
    }
}
