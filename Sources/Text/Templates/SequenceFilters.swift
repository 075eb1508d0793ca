/// Filters over lists and dictionaries.
extension TemplateInterpreter {
    func sequenceFilter(
        _ filter: TemplateFilter, _ value: TemplateValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue {
        switch filter {
        case .first:
            try arguments.requireNone("first")
            return try iterator(over: value).next() ?? .undefined(UndefinedValue("there is no first item"))
        case .last:
            try arguments.requireNone("last")
            return try reversedElements(value).first ?? .undefined(UndefinedValue("there is no last item"))
        case .list:
            try arguments.requireNone("list")
            return try list(try elements(of: value))
        case .reverse:
            try arguments.requireNone("reverse")
            return try reversed(value)
        case .items: return try items(value, arguments)
        case .join: return try joined(value, arguments)
        case .sum: return try sum(value, arguments)
        case .attr: return try attr(value, arguments)
        case .batch: return try batches(value, arguments)
        case .slice: return try slices(value, arguments)
        case .dictsort: return try sortedMembers(value, arguments)
        default: throw TemplateFailure("the filter '\(filter.rawValue)' is not known", kind: .unexpected)
        }
    }

    /// The elements from the last, for values that can be gone through backwards.
    private func reversedElements(_ value: TemplateValue) throws(TemplateFailure) -> [TemplateValue] {
        switch value {
        case .iterator, .loop: throw TemplateFailure("a \(value.typeName) has no last element")
        default: return try elements(of: value).reversed()
        }
    }

    private func reversed(_ value: TemplateValue) throws(TemplateFailure) -> TemplateValue {
        switch value {
        case .string(let text): return try string(text.scalars.reversed(), isMarkup: text.isMarkup)
        case .iterator: return try list(try elements(of: value).reversed())
        default: return try iterator("reversed", over: try elements(of: value).reversed())
        }
    }

    /// An iterator over `elements`.
    func iterator(
        _ kind: String = "generator", over elements: [TemplateValue]
    ) throws(TemplateFailure) -> TemplateValue {
        var index = 0
        return .iterator(
            try ValueIterator(kind, over: elements) { () throws(TemplateFailure) in
                guard index < elements.count else { return nil }
                index += 1
                return elements[index - 1]
            })
    }

    private func items(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        try arguments.requireNone("items")
        switch value {
        case .undefined: return try iterator(over: [])
        case .dictionary(let dictionary):
            var items: [TemplateValue] = []
            for index in 0..<dictionary.count { items.append(try dictionary.item(index)) }
            return try iterator(over: items)
        default: throw TemplateFailure("'items' needs a dictionary", found: value.typeName)
        }
    }

    private func joined(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        let values = try arguments.values(of: "join", ["d", "attribute"])
        let separator = try values[0].map { (value) throws(TemplateFailure) in try text(of: value) } ?? []
        let path = try AttributePath(values[1])
        var result: Scalars = []
        let iterator = try iterator(over: value)
        var isFirst = true
        while let element = try iterator.next() {
            let part = try text(of: try path.value(of: element, self))
            if !isFirst { try append(separator, to: &result) }
            isFirst = false
            try append(part, to: &result)
        }
        return try string(result)
    }

    private func sum(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        let values = try arguments.values(of: "sum", ["attribute", "start"])
        let path = try AttributePath(values[0])
        var sum = values[1] ?? .integer(0)
        guard sum.scalars == nil else { throw TemplateFailure("'sum' does not add strings") }
        for element in try elements(of: value) {
            try charge(TemplateLimits.stepCost)
            sum = try combine(sum, .add, try path.value(of: element, self))
        }
        return sum
    }

    private func attr(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        let name = try (try arguments.values(of: "attr", ["name"], required: 1)[0] ?? .none).text("a name")
        if case .undefined(let undefined) = value { throw undefined.failure }
        return try property(name, of: value)
            ?? .undefined(UndefinedValue("\(value.typeName) has no attribute '\(String(name))'"))
    }

    private func batches(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        let values = try arguments.values(of: "batch", ["linecount", "fill_with"], required: 1)
        let size = try (values[0] ?? .none).integer("the size of a batch")
        var batches: [TemplateValue] = []
        var batch: [TemplateValue] = []
        for element in try elements(of: value) {
            if batch.count == size {
                batches.append(try list(batch))
                batch = []
            }
            batch.append(element)
        }
        if !batch.isEmpty {
            if let fill = values[1].given, batch.count < size {
                try charge(elements: size)
                batch += repeatElement(fill, count: size - batch.count)
            }
            batches.append(try list(batch))
        }
        return try iterator(over: batches)
    }

    private func slices(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        let values = try arguments.values(of: "slice", ["slices", "fill_with"], required: 1)
        let count = try (values[0] ?? .none).integer("the number of slices")
        let elements = try elements(of: value)
        guard count != 0 else { throw TemplateFailure("division by zero") }
        guard count > 0 else { return try iterator(over: []) }
        try charge(elements: count)
        let (size, rest) = (elements.count / count, elements.count % count)
        var slices: [TemplateValue] = []
        var start = 0
        for index in 0..<count {
            let end = start + size + (index < rest ? 1 : 0)
            var slice = Array(elements[start..<end])
            if let fill = values[1].given, index >= rest { slice.append(fill) }
            slices.append(try list(slice))
            start = end
        }
        return try iterator(over: slices)
    }

    private func sortedMembers(
        _ value: TemplateValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue {
        let values = try arguments.values(of: "dictsort", ["case_sensitive", "by", "reverse"])
        guard case .dictionary(let dictionary) = value else {
            if case .undefined(let undefined) = value { throw undefined.failure }
            throw TemplateFailure("'dictsort' needs a dictionary", found: value.typeName)
        }
        let by = try values[1].map { (value) throws(TemplateFailure) in String(try value.text("'by'")) } ?? "key"
        guard by == "key" || by == "value" else {
            throw TemplateFailure("'dictsort' goes by 'key' or 'value'", found: by)
        }
        let isCaseSensitive = values[0]?.isTrue ?? false
        var keyed: [(key: TemplateValue, item: TemplateValue)] = []
        for (index, member) in dictionary.members.enumerated() {
            let key = by == "key" ? member.key : member.value
            keyed.append((isCaseSensitive ? key : key.lowercased, try dictionary.item(index)))
        }
        return try list(try sorted(keyed, isReversed: values[2]?.isTrue ?? false) { $0.key }.map(\.item))
    }
}

extension TemplateValue {
    /// A string in lower case; other values as they are.
    var lowercased: TemplateValue {
        guard case .string(let text) = self else { return self }
        return .string(TextValue(text.scalars.lowercasedScalars(), isMarkup: text.isMarkup))
    }
}

/// The parameter `attribute` of filters: names and numbers with dots between.
struct AttributePath {
    private let parts: [TemplateValue]

    /// A path of no parts, for `nil` and none, is the value itself.
    init(_ value: TemplateValue?) throws(TemplateFailure) {
        guard let value = value.given else {
            parts = []
            return
        }
        guard let text = value.scalars else {
            parts = [value]
            return
        }
        parts = text.split(separator: ".", omittingEmptySubsequences: false).map { part in
            let isNumber = !part.isEmpty && part.allSatisfy(\.isPythonDigit)
            let number = isNumber ? PythonNumber.integer(Scalars(part)) : nil
            return number.map(TemplateValue.integer) ?? .text(Scalars(part))
        }
    }

    /// The value at the path; `fallback`, if given, stands for what is undefined on the way.
    func value(
        of value: TemplateValue, _ interpreter: TemplateInterpreter, default fallback: TemplateValue? = nil
    ) throws(TemplateFailure) -> TemplateValue {
        var value = value
        for part in parts {
            value = try interpreter.item(part, of: value)
            if value.isUndefined, let fallback = fallback.given { value = fallback }
        }
        return value
    }
}
