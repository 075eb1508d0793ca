/// Filters that pick, order and change elements by a rule.
extension TemplateInterpreter {
    func selectionFilter(
        _ filter: TemplateFilter, _ value: TemplateValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue? {
        switch filter {
        case .map: return try mapped(value, arguments)
        case .select, .reject: return try selected(value, arguments, attribute: false, keeps: filter == .select)
        case .selectattr, .rejectattr:
            return try selected(value, arguments, attribute: true, keeps: filter == .selectattr)
        case .sort: return try sorted(value, arguments)
        case .unique: return try unique(value, arguments)
        case .min, .max: return try extreme(filter, value, arguments)
        case .groupby: return try groups(value, arguments)
        default: return nil
        }
    }

    private func mapped(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        // Like the generator in Python this looks at its arguments when the first element is asked for.
        var source: ValueIterator?
        var transform: ((TemplateValue) throws(TemplateFailure) -> TemplateValue)?
        return .iterator(
            try ValueIterator(over: arguments.all + [value]) { [unowned self] () throws(TemplateFailure) in
                guard value.isTrue else { return nil }
                if source == nil {
                    transform = try self.transform(arguments)
                    source = try self.iterator(over: value)
                }
                guard let element = try source?.next() else { return nil }
                return try self.deeper { () throws(TemplateFailure) in try transform?(element) }
            })
    }

    private func transform(
        _ arguments: CallArguments
    ) throws(TemplateFailure) -> (TemplateValue) throws(TemplateFailure) -> TemplateValue {
        if arguments.positional.isEmpty, arguments.named.contains(where: { $0.name == "attribute" }) {
            let values = try arguments.values(of: "map", ["attribute", "default"])
            let path = try AttributePath(values[0])
            return { [unowned self] (element) throws(TemplateFailure) in
                try path.value(of: element, self, default: values[1])
            }
        }
        guard let first = arguments.positional.first else { throw TemplateFailure("'map' needs a filter") }
        let name = String(try first.text("the name of a filter"))
        guard let filter = TemplateFilter(rawValue: name) else { throw TemplateFilter.unknown(name) }
        let rest = CallArguments(positional: Array(arguments.positional.dropFirst()), named: arguments.named)
        return { [unowned self] (element) throws(TemplateFailure) in try apply(filter, to: element, rest) }
    }

    private func selected(
        _ value: TemplateValue, _ arguments: CallArguments, attribute: Bool, keeps: Bool
    ) throws(TemplateFailure) -> TemplateValue {
        var source: ValueIterator?
        var condition: ((TemplateValue) throws(TemplateFailure) -> Bool)?
        return .iterator(
            try ValueIterator(over: arguments.all + [value]) { [unowned self] () throws(TemplateFailure) in
                guard value.isTrue else { return nil }
                if source == nil {
                    condition = try self.condition(arguments, attribute: attribute)
                    source = try self.iterator(over: value)
                }
                while let element = try source?.next() {
                    let holds = try self.deeper { () throws(TemplateFailure) in try condition?(element) }
                    if holds == keeps { return element }
                }
                return nil
            })
    }

    private func condition(
        _ arguments: CallArguments, attribute: Bool
    ) throws(TemplateFailure) -> (TemplateValue) throws(TemplateFailure) -> Bool {
        var rest = arguments.positional[...]
        var path = try AttributePath(nil)
        if attribute {
            guard let name = rest.popFirst() else { throw TemplateFailure("the name of an attribute is missing") }
            path = try AttributePath(name)
        }
        guard let first = rest.popFirst() else {
            return { [unowned self] (element) throws(TemplateFailure) in try path.value(of: element, self).isTrue }
        }
        let name = String(try first.text("the name of a test"))
        guard let test = TemplateTest(rawValue: name) else { throw TemplateTest.unknown(name) }
        let others = CallArguments(positional: Array(rest), named: arguments.named)
        return { [unowned self] (element) throws(TemplateFailure) in
            try holds(test, for: try path.value(of: element, self), others)
        }
    }

    private func sorted(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        let values = try arguments.values(of: "sort", ["reverse", "case_sensitive", "attribute"])
        let isCaseSensitive = values[1]?.isTrue ?? false
        var paths: [AttributePath] = []
        if let text = values[2]?.scalars {
            for part in text.split(separator: ",", omittingEmptySubsequences: false) {
                paths.append(try AttributePath(.text(Scalars(part))))
            }
        } else {
            paths = [try AttributePath(values[2])]
        }
        var keyed: [(key: TemplateValue, element: TemplateValue)] = []
        for element in try elements(of: value) {
            var keys: [TemplateValue] = []
            for path in paths {
                let key = try path.value(of: element, self)
                keys.append(isCaseSensitive ? key : key.lowercased)
            }
            keyed.append((try list(keys), element))
        }
        return try list(try sorted(keyed, isReversed: values[0]?.isTrue ?? false) { $0.key }.map(\.element))
    }

    private func unique(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        let values = try arguments.values(of: "unique", ["case_sensitive", "attribute"])
        let isCaseSensitive = values[0]?.isTrue ?? false
        let path = try AttributePath(values[1])
        var seen: Set<DictionaryKey> = []
        var kept: [TemplateValue] = []
        for element in try elements(of: value) {
            let key = try path.value(of: element, self)
            try charge(key: key)
            if seen.insert(try DictionaryKey(isCaseSensitive ? key : key.lowercased)).inserted { kept.append(element) }
        }
        return try iterator(over: kept)
    }

    private func extreme(
        _ filter: TemplateFilter, _ value: TemplateValue, _ arguments: CallArguments
    ) throws(TemplateFailure) -> TemplateValue {
        let values = try arguments.values(of: filter.rawValue, ["case_sensitive", "attribute"])
        let isCaseSensitive = values[0]?.isTrue ?? false
        let path = try AttributePath(values[1])
        var best: (key: TemplateValue, element: TemplateValue)?
        for element in try elements(of: value) {
            var key = try path.value(of: element, self)
            if !isCaseSensitive { key = key.lowercased }
            guard let current = best else {
                best = (key, element)
                continue
            }
            if try order(key, current.key) == (filter == .min ? .less : .greater) { best = (key, element) }
        }
        return best?.element ?? .undefined(UndefinedValue("there is no item to choose from"))
    }

    private func groups(_ value: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        let values = try arguments.values(of: "groupby", ["attribute", "default", "case_sensitive"], required: 1)
        let isCaseSensitive = values[2]?.isTrue ?? false
        let path = try AttributePath(values[0])
        var keyed: [(key: TemplateValue, element: TemplateValue)] = []
        for element in try elements(of: value) {
            let key = try path.value(of: element, self, default: values[1])
            keyed.append((isCaseSensitive ? key : key.lowercased, element))
        }
        var groups: [(key: TemplateValue, elements: [TemplateValue])] = []
        for (key, element) in try sorted(keyed, by: { $0.key }) {
            if !groups.isEmpty, try equal(groups[groups.count - 1].key, key) {
                groups[groups.count - 1].elements.append(element)
            } else {
                groups.append((key, [element]))
            }
        }
        var result: [TemplateValue] = []
        for group in groups {
            // The key as the first element has it, not in lower case.
            let key = try path.value(of: group.elements[0], self, default: values[1])
            result.append(.tuple(try ListValue([key, try list(group.elements)], isGroup: true)))
        }
        return try list(result)
    }
}
