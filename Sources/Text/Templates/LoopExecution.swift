/// The state of a for loop, which its body sees as `loop`.
final class LoopValue {
    private unowned let interpreter: TemplateInterpreter
    private var iterator: ValueIterator
    /// How many elements there are, if that was known before or had to be found out.
    private var knownCount: Int?
    private(set) var index0 = -1
    private(set) var current: TemplateValue?
    private(set) var previous: TemplateValue?
    /// Elements taken early, to see whether there is a next one.
    private var ahead: TemplateValue?
    private var isAtEnd = false
    /// The arguments of the last `changed`.
    var lastChanged: [TemplateValue]?
    let depth: Int
    /// How many recursive loops are around this one.
    let level: Int
    /// Renders the loop again over another iterable; `nil` without `recursive`.
    let recurse: ((TemplateValue) throws(TemplateFailure) -> Scalars)?

    init(
        _ interpreter: TemplateInterpreter, over iterator: ValueIterator, count: Int?, level: Int,
        recurse: ((TemplateValue) throws(TemplateFailure) -> Scalars)?
    ) {
        self.interpreter = interpreter
        self.iterator = iterator
        knownCount = count
        depth = iterator.depth + 1
        self.level = level
        self.recurse = recurse
    }

    /// Moves on. Returns the element, `nil` at the end.
    func next() throws(TemplateFailure) -> TemplateValue? {
        guard let element = try peek() else { return nil }
        ahead = nil
        index0 += 1
        previous = current
        current = element
        return element
    }

    /// The element after the current one, `nil` if that is the last.
    func peek() throws(TemplateFailure) -> TemplateValue? {
        if ahead == nil, !isAtEnd {
            ahead = try iterator.next()
            isAtEnd = ahead == nil
        }
        return ahead
    }

    /// How many elements there are. Of an iterator, all that are left are taken out for that.
    func length() throws(TemplateFailure) -> Int {
        if let knownCount { return knownCount }
        let rest = try interpreter.elements(of: .iterator(iterator))
        iterator = try interpreter.iterator(over: .list(try ListValue(rest)))
        let count = rest.count + index0 + 1 + (ahead == nil ? 0 : 1)
        knownCount = count
        return count
    }

    var isNotEmpty: Bool { (try? length()) != 0 }
}

/// Running for loops.
extension TemplateInterpreter {
    func run(_ loop: LoopSyntax, in scope: TemplateScope) throws(TemplateFailure) -> Flow {
        let iterable = try evaluate(loop.iterable, in: scope)
        guard loop.isRecursive else { return try run(loop, over: iterable, level: 0, in: scope) }
        let (text, _) = try captured { () throws(TemplateFailure) in
            try run(loop, over: iterable, level: 0, in: scope)
        }
        try write(text)
        return .finished
    }

    private func run(
        _ loop: LoopSyntax, over iterable: TemplateValue, level: Int, in scope: TemplateScope
    ) throws(TemplateFailure) -> Flow {
        var iterator = try iterator(over: iterable)
        var count = length(of: iterable)
        if let condition = loop.condition {
            iterator = try filter(iterator, loop.target, condition, in: scope)
            count = nil
        }
        var recurse: ((TemplateValue) throws(TemplateFailure) -> Scalars)?
        if loop.isRecursive {
            recurse = { [unowned self] (iterable) throws(TemplateFailure) in
                try captured { () throws(TemplateFailure) in
                    try run(loop, over: iterable, level: level + 1, in: scope)
                }.text
            }
        }
        let state = LoopValue(self, over: iterator, count: count, level: level, recurse: recurse)
        // Only a body that ran to its end counts as one: after break or continue the else block still runs.
        var hasFinishedBody = false
        while let element = try state.next() {
            try charge(TemplateLimits.stepCost)
            let inner = TemplateScope(parent: scope)
            if let id = loopID { inner.variables[id] = .loop(state) }
            try assign(element, to: loop.target, in: inner)
            let flow = try run(loop.body, in: inner)
            if flow == .leftLoop { break }
            if flow == .finished { hasFinishedBody = true }
        }
        return hasFinishedBody ? .finished : try run(loop.otherwise, in: TemplateScope(parent: scope))
    }

    /// The elements for which the condition of a loop holds.
    private func filter(
        _ iterator: ValueIterator, _ target: AssignmentTarget, _ condition: TemplateExpression,
        in scope: TemplateScope
    ) throws(TemplateFailure) -> ValueIterator {
        try ValueIterator(over: [.iterator(iterator)]) { [unowned self] () throws(TemplateFailure) in
            while let element = try iterator.next() {
                let inner = TemplateScope(parent: scope)
                try assign(element, to: target, in: inner)
                if try evaluate(condition, in: inner).isTrue { return element }
            }
            return nil
        }
    }

    // MARK: Iteration

    /// The number of elements, for values that know it.
    func length(of value: TemplateValue) -> Int? {
        switch value {
        case .undefined: 0
        case .string(let text): text.scalars.count
        case .list(let list), .tuple(let list): list.elements.count
        case .dictionary(let dictionary): dictionary.count
        case .view(let view): view.dictionary.count
        case .range(let range): range.count
        case .loop(let loop): try? loop.length()
        default: nil
        }
    }

    /// Whether there are elements, or could be.
    func isIterable(_ value: TemplateValue) -> Bool {
        switch value {
        case .iterator, .loop: true
        default: length(of: value) != nil
        }
    }

    /// The elements one after the other. Throws if the value has none.
    func iterator(over value: TemplateValue) throws(TemplateFailure) -> ValueIterator {
        switch value {
        case .iterator(let iterator): return iterator
        case .undefined: return try counted([], 0) { (_) throws(TemplateFailure) in .none }
        case .string(let text):
            return try counted([], text.scalars.count) { (index) throws(TemplateFailure) in
                .text([text.scalars[index]])
            }
        case .list(let list), .tuple(let list):
            return try counted([value], list.elements.count) { (index) throws(TemplateFailure) in list.elements[index] }
        case .dictionary(let dictionary):
            return try counted([value], dictionary.count) { (index) throws(TemplateFailure) in dictionary.keys[index] }
        case .view(let view):
            return try counted([value], view.dictionary.count) { (index) throws(TemplateFailure) in
                try view.element(index)
            }
        case .range(let range):
            return try counted([], range.count) { (index) throws(TemplateFailure) in .integer(range[index]) }
        case .loop(let loop):
            return try ValueIterator(over: [value]) { () throws(TemplateFailure) in
                guard let element = try loop.next() else { return nil }
                return .tuple(try ListValue([element, .loop(loop)]))
            }
        default: throw TemplateFailure("a \(value.typeName) has no elements to go through")
        }
    }

    private func counted(
        _ parts: [TemplateValue], _ count: Int, _ element: @escaping (Int) throws(TemplateFailure) -> TemplateValue
    ) throws(TemplateFailure) -> ValueIterator {
        var index = 0
        return try ValueIterator("iterator", over: parts) { () throws(TemplateFailure) in
            guard index < count else { return nil }
            index += 1
            return try element(index - 1)
        }
    }

    /// All elements. Of an iterator, those that are left.
    func elements(of value: TemplateValue) throws(TemplateFailure) -> [TemplateValue] {
        if case .list(let list) = value { return list.elements }
        if case .tuple(let list) = value { return list.elements }
        var elements: [TemplateValue] = []
        let iterator = try iterator(over: value)
        while let element = try iterator.next() {
            try charge(elements: 1)
            elements.append(element)
        }
        return elements
    }
}
