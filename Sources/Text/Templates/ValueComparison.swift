/// Python's equality, order and membership.
extension TemplateInterpreter {
    /// `left == right`.
    func equal(_ left: TemplateValue, _ right: TemplateValue) throws(TemplateFailure) -> Bool {
        if let order = left.numericOrder(right) { return order == .equal }
        switch (left, right) {
        case (.undefined, .undefined), (.none, .none): return true
        case (.string(let left), .string(let right)):
            guard left.scalars.count == right.scalars.count else { return false }
            try charge(left.scalars.count / 8)
            return left.scalars == right.scalars
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
            return left === right ? true : try equal(left.elements, right.elements)
        case (.dictionary(let left), .dictionary(let right)): return try equal(left, right)
        case (.range(let left), .range(let right)):
            return left.count == right.count
                && (left.count == 0 || left.start == right.start && (left.count == 1 || left.step == right.step))
        case (.function(let left), .function(let right)): return left == right
        case (.method(let left), .method(let right)):
            return left.method == right.method && left.receiver.identity != nil
                && left.receiver.identity == right.receiver.identity
        default:
            guard let identity = left.identity else { return false }
            return identity == right.identity
        }
    }

    private func equal(_ left: [TemplateValue], _ right: [TemplateValue]) throws(TemplateFailure) -> Bool {
        guard left.count == right.count else { return false }
        try charge(elements: left.count)
        for (left, right) in zip(left, right) where try !equal(left, right) { return false }
        return true
    }

    private func equal(_ left: DictionaryValue, _ right: DictionaryValue) throws(TemplateFailure) -> Bool {
        guard left.count == right.count, left !== right else { return left === right }
        try charge(elements: 2 * left.count)
        for (key, value) in left.members {
            guard let other = try right.value(of: key), try equal(value, other) else { return false }
        }
        return true
    }

    /// How `left` stands to `right`. Throws if Python does not order them.
    func order(_ left: TemplateValue, _ right: TemplateValue) throws(TemplateFailure) -> ValueOrder {
        if let order = left.numericOrder(right) { return order }
        switch (left, right) {
        case (.undefined(let value), _), (_, .undefined(let value)): throw value.failure
        case (.string(let left), .string(let right)):
            try charge(min(left.scalars.count, right.scalars.count) / 8)
            if left.scalars == right.scalars { return .equal }
            return left.scalars.lexicographicallyPrecedes(right.scalars) ? .less : .greater
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
            try charge(min(left.elements.count, right.elements.count))
            for (left, right) in zip(left.elements, right.elements) where try !equal(left, right) {
                return try order(left, right)
            }
            let (left, right) = (left.elements.count, right.elements.count)
            return left < right ? .less : left == right ? .equal : .greater
        default:
            throw TemplateFailure("cannot order \(left.typeName) and \(right.typeName)")
        }
    }

    func compare(
        _ left: TemplateValue, _ comparison: TemplateExpression.Comparison, _ right: TemplateValue
    ) throws(TemplateFailure) -> Bool {
        switch comparison {
        case .equal: return try equal(left, right)
        case .unequal: return try !equal(left, right)
        case .contained: return try contains(right, left)
        case .notContained: return try !contains(right, left)
        case .less: return try order(left, right) == .less
        case .greater: return try order(left, right) == .greater
        case .atMost:
            let order = try order(left, right)
            return order == .less || order == .equal
        case .atLeast:
            let order = try order(left, right)
            return order == .greater || order == .equal
        }
    }

    /// `value in container`.
    func contains(_ container: TemplateValue, _ value: TemplateValue) throws(TemplateFailure) -> Bool {
        switch container {
        case .string(let text):
            guard let needle = value.scalars else {
                throw TemplateFailure("only a str can be in a str", found: value.typeName)
            }
            try charge(text.scalars.count + needle.count)
            return text.scalars.firstRange(of: needle) != nil
        case .dictionary(let dictionary):
            try charge(key: value)
            return try dictionary.value(of: value) != nil
        case .view(let view) where view.kind == .keys: return try view.dictionary.value(of: value) != nil
        case .range(let range):
            if let integer = value.asInteger {
                let (distance, overflows) = integer.subtractingReportingOverflow(range.start)
                guard range.count > 0, !overflows, range.step != -1 else {
                    return range.count > 0 && !overflows && (0..<range.count).contains(0 &- distance)
                }
                guard distance % range.step == 0 else { return false }
                return (0..<range.count).contains(distance / range.step)
            }
        default: break
        }
        let iterator = try iterator(over: container)
        while let element = try iterator.next() {
            try charge(TemplateLimits.stepCost)
            // Python takes an object for itself even if it is not equal to itself.
            if try equal(element, value) { return true }
        }
        return false
    }

    /// The values sorted, equal ones in their order: a merge sort, as the comparison may fail.
    func sorted<Element>(
        _ elements: [Element], isReversed: Bool = false, by key: (Element) -> TemplateValue
    ) throws(TemplateFailure) -> [Element] {
        guard elements.count > 1 else { return elements }
        try charge(elements: elements.count)
        let middle = elements.count / 2
        let left = try sorted(Array(elements[..<middle]), isReversed: isReversed, by: key)
        let right = try sorted(Array(elements[middle...]), isReversed: isReversed, by: key)
        var result: [Element] = []
        result.reserveCapacity(elements.count)
        var (first, second) = (0, 0)
        while first < left.count, second < right.count {
            let order = try order(key(right[second]), key(left[first]))
            if order == (isReversed ? .greater : .less) {
                result.append(right[second])
                second += 1
            } else {
                result.append(left[first])
                first += 1
            }
        }
        return result + left[first...] + right[second...]
    }

    /// Numbers of a range's elements are counted up front: Python's sandbox has the same bound.
    static let maximumRangeCount = 100_000
}
