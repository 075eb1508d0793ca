/// Methods of Python's types, by their names there. Those that change a value are listed because asking for them is not
/// an error in the sandbox, only calling them.
enum TemplateMethod: String {
    case capitalize, casefold, center, count, endswith, expandtabs, find, format
    case formatMap = "format_map"
    case index
    case isalnum, isalpha, isascii, isdecimal, isdigit, isidentifier, islower, isnumeric, isprintable, isspace
    case istitle, isupper, join, ljust, lower, lstrip, partition, removeprefix, removesuffix, replace, rfind, rindex
    case rjust, rpartition, rsplit, rstrip, split, splitlines, startswith, strip, swapcase, title, upper, zfill
    case get, items, keys, values, copy, fromkeys
    case append, clear, extend, insert, pop, popitem, remove, reverse, setdefault, sort, update
    case isInteger = "is_integer"
    case bitLength = "bit_length"
    case cycle, changed, next, reset

    private static let ofText: Set<TemplateMethod> = [
        .capitalize, .casefold, .center, .count, .endswith, .expandtabs, .find, .format, .formatMap, .index, .isalnum,
        .isalpha, .isascii, .isdecimal, .isdigit, .isidentifier, .islower, .isnumeric, .isprintable, .isspace,
        .istitle, .isupper, .join, .ljust, .lower, .lstrip, .partition, .removeprefix, .removesuffix, .replace, .rfind,
        .rindex, .rjust, .rpartition, .rsplit, .rstrip, .split, .splitlines, .startswith, .strip, .swapcase, .title,
        .upper, .zfill,
    ]
    private static let changingLists: Set<TemplateMethod> = [
        .append, .clear, .extend, .insert, .pop, .remove, .reverse, .sort,
    ]
    private static let changingDictionaries: Set<TemplateMethod> = [.clear, .pop, .popitem, .setdefault, .update]
    private static let ofDictionaries: Set<TemplateMethod> = [.get, .items, .keys, .values, .copy, .fromkeys]

    /// Whether values of this type have the method.
    func belongs(to value: TemplateValue) -> Bool {
        switch value {
        case .string: TemplateMethod.ofText.contains(self)
        case .list: self == .count || self == .index || self == .copy || isMutating(value)
        case .tuple, .range: self == .count || self == .index
        case .dictionary: TemplateMethod.ofDictionaries.contains(self) || isMutating(value)
        case .float: self == .isInteger
        case .integer, .bool: self == .bitLength
        case .loop: self == .cycle || self == .changed
        case .cycler: self == .next || self == .reset
        default: false
        }
    }

    /// Whether it would change the value.
    func isMutating(_ value: TemplateValue) -> Bool {
        switch value {
        case .list: TemplateMethod.changingLists.contains(self)
        case .dictionary: TemplateMethod.changingDictionaries.contains(self)
        default: false
        }
    }
}

extension CallArguments {
    /// The arguments of a method that takes them by place only, between `least` and `most`.
    func byPlace(_ method: TemplateMethod, _ least: Int, _ most: Int) throws(TemplateFailure) -> [TemplateValue] {
        guard named.isEmpty else { throw TemplateFailure("'\(method.rawValue)' takes no named arguments") }
        guard (least...most).contains(positional.count) else {
            throw TemplateFailure(
                "wrong number of arguments for '\(method.rawValue)'",
                expected: least == most ? "\(least)" : "\(least) to \(most)", found: "\(positional.count)")
        }
        return positional
    }
}

extension TemplateInterpreter {
    func call(_ value: MethodValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        let method = value.method
        switch value.receiver {
        case .string(let text): return try call(method, of: text, arguments)
        case .dictionary(let dictionary): return try call(method, of: dictionary, arguments)
        case .list, .tuple, .range: return try callOfSequence(method, value.receiver, arguments)
        case .float(let double):
            try arguments.requireNone(method.rawValue)
            return .bool(double.isFinite && double == double.rounded())
        case .integer, .bool:
            try arguments.requireNone(method.rawValue)
            return .integer(Int.bitWidth - (value.receiver.asInteger ?? 0).magnitude.leadingZeroBitCount)
        case .loop(let loop): return try call(method, of: loop, arguments)
        case .cycler(let cycler):
            try arguments.requireNone(method.rawValue)
            let current = cycler.items.elements[cycler.position]
            cycler.position = method == .reset ? 0 : (cycler.position + 1) % cycler.items.elements.count
            return method == .reset ? .none : current
        default: throw TemplateFailure("'\(method.rawValue)' cannot be called")
        }
    }

    private func call(
        _ method: TemplateMethod, of dictionary: DictionaryValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue {
        switch method {
        case .get:
            let values = try arguments.byPlace(method, 1, 2)
            return try dictionary.value(of: values[0]) ?? (values.count > 1 ? values[1] : .none)
        case .fromkeys:
            let values = try arguments.byPlace(method, 1, 2)
            let value = values.count > 1 ? values[1] : .none
            return try self.dictionary(try elements(of: values[0]).map { (key: $0, value: value) })
        default: break
        }
        try arguments.requireNone(method.rawValue)
        switch method {
        case .items: return .view(DictionaryView(kind: .items, dictionary: dictionary))
        case .keys: return .view(DictionaryView(kind: .keys, dictionary: dictionary))
        case .values: return .view(DictionaryView(kind: .values, dictionary: dictionary))
        default: return try self.dictionary(dictionary.members)
        }
    }

    private func callOfSequence(
        _ method: TemplateMethod, _ sequence: TemplateValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue {
        if method == .copy {
            try arguments.requireNone(method.rawValue)
            return try list(try elements(of: sequence))
        }
        let values = try arguments.byPlace(method, 1, method == .count ? 1 : 3)
        let elements = try elements(of: sequence)
        var count = 0
        let bounds = try TemplateInterpreter.bounds(values.dropFirst(), count: elements.count)
        for index in bounds.lowerBound..<max(bounds.lowerBound, min(bounds.upperBound, elements.count)) {
            try charge(TemplateLimits.stepCost)
            guard try equal(elements[index], values[0]) else { continue }
            if method == .index { return .integer(index) }
            count += 1
        }
        guard method == .count else { throw TemplateFailure("'index' does not find the value") }
        return .integer(count)
    }

    /// The part of `count` elements that a start and an end, as in a slice, mean.
    static func bounds(_ values: some Collection<TemplateValue>, count: Int) throws(TemplateFailure) -> Range<Int> {
        var limits = [0, count]
        for (place, value) in values.enumerated() where !value.isNone {
            let index = try value.integer("a bound")
            limits[place] = index < 0 ? max(0, max(index, -count) + count) : index
        }
        let start = limits[0]
        return start..<max(start, min(limits[1], count))
    }

    private func call(
        _ method: TemplateMethod, of loop: LoopValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue {
        guard arguments.named.isEmpty else { throw TemplateFailure("'\(method.rawValue)' takes no named arguments") }
        if method == .cycle {
            guard !arguments.positional.isEmpty else { throw TemplateFailure("'cycle' needs at least one value") }
            return arguments.positional[max(0, loop.index0) % arguments.positional.count]
        }
        let values = arguments.positional
        if let last = loop.lastChanged {
            let isSame = try equal(.tuple(try ListValue(last)), .tuple(try ListValue(values)))
            if isSame { return .bool(false) }
        }
        loop.lastChanged = values
        return .bool(true)
    }
}
