/// Methods of strings that cut and fill.
extension TemplateInterpreter {
    func split(
        _ method: TemplateMethod, _ text: TextValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue {
        let values = try arguments.values(of: method.rawValue, ["sep", "maxsplit"])
        let limit = try values[1]?.integer("the number of splits") ?? -1
        let most = limit < 0 ? Int.max : limit
        var parts: [Scalars]
        if let separator = values[0].given {
            let separator = try separator.text("a separator")
            guard !separator.isEmpty else { throw TemplateFailure("a separator is empty") }
            parts = TemplateInterpreter.split(text.scalars, by: separator, most: most, fromEnd: method == .rsplit)
        } else {
            parts = TemplateInterpreter.words(
                method == .rsplit ? text.scalars.reversed() : text.scalars, most: most)
            if method == .rsplit { parts = parts.reversed().map { $0.reversed() } }
        }
        try charge(characters: text.scalars.count)
        return try list(parts.map { .string(TextValue($0, isMarkup: text.isMarkup)) })
    }

    private static func split(_ text: Scalars, by separator: Scalars, most: Int, fromEnd: Bool) -> [Scalars] {
        var places: [Int]
        if fromEnd {
            // Overlapping places count from the end.
            let backwards = Scalars(text.reversed()).ranges(of: separator.reversed(), limit: most)
            places = backwards.map { text.count - $0 - separator.count }.reversed()
        } else {
            places = text.ranges(of: separator, limit: most)
        }
        var parts: [Scalars] = []
        var start = 0
        for place in places {
            parts.append(Scalars(text[start..<place]))
            start = place + separator.count
        }
        parts.append(Scalars(text[start...]))
        return parts
    }

    /// The words between runs of white space; after `most` splits the rest without white space before it.
    static func words(_ text: Scalars, most: Int) -> [Scalars] {
        var parts: [Scalars] = []
        var index = 0
        while true {
            while index < text.count, text[index].isPythonSpace { index += 1 }
            guard index < text.count else { return parts }
            if parts.count >= most {
                parts.append(Scalars(text[index...]))
                return parts
            }
            let start = index
            while index < text.count, !text[index].isPythonSpace { index += 1 }
            parts.append(Scalars(text[start..<index]))
        }
    }

    func pad(
        _ method: TemplateMethod, _ text: TextValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue {
        let values = try arguments.byPlace(method, 1, method == .zfill ? 1 : 2)
        let width = try values[0].integer("a width")
        let fill = values.count > 1 ? try values[1].text("what fills") : [method == .zfill ? "0" : " "]
        guard fill.count == 1 else { throw TemplateFailure("what fills is not one character") }
        let scalars = text.scalars
        guard width > scalars.count else { return .string(text) }
        try charge(characters: width)
        let missing = width - scalars.count
        let filling = { (count: Int) in Scalars(repeating: fill[0], count: count) }
        let result: Scalars
        switch method {
        case .ljust: result = scalars + filling(missing)
        case .rjust: result = filling(missing) + scalars
        case .zfill:
            let hasSign = scalars.first == "+" || scalars.first == "-"
            result = scalars.prefix(hasSign ? 1 : 0) + filling(missing) + scalars.dropFirst(hasSign ? 1 : 0)
        default:
            // Python puts the odd one to the left only if the width is odd.
            let left = missing / 2 + (missing & width & 1)
            result = filling(left) + scalars + filling(missing - left)
        }
        return .string(TextValue(result, isMarkup: text.isMarkup))
    }

    func expandTabs(_ text: TextValue, _ size: Int) throws(TemplateFailure) -> TemplateValue {
        var result: Scalars = []
        var column = 0
        for scalar in text.scalars {
            switch scalar {
            case "\t":
                guard size > 0 else { continue }
                let count = size - column % size
                try charge(characters: count)
                result += Scalars(repeating: " ", count: count)
                column += count
            default:
                result.append(scalar)
                column = scalar == "\n" || scalar == "\r" ? 0 : column + 1
            }
            guard result.count <= text.scalars.count + (1 << 26) else { throw .limit("a text with tabs is too long") }
        }
        return try string(result, isMarkup: text.isMarkup)
    }
}
