/// A value while a template is rendered: Python's types as far as templates meet them.
///
/// Lists and dictionaries never change once made: the sandbox that `transformers` renders in forbids every method that
/// would. Only namespaces, iterators, loops, cyclers and joiners have state.
enum TemplateValue {
    case undefined(UndefinedValue)
    case none
    case bool(Bool)
    case integer(Int)
    case float(Double)
    case string(TextValue)
    case list(ListValue)
    case tuple(ListValue)
    case dictionary(DictionaryValue)
    case view(DictionaryView)
    case range(RangeValue)
    case iterator(ValueIterator)
    case namespace(NamespaceValue)
    case loop(LoopValue)
    case macro(MacroValue)
    case function(GlobalFunction)
    case method(MethodValue)
    case cycler(CyclerValue)
    case joiner(JoinerValue)

    init(_ literal: TemplateLiteral) {
        switch literal {
        case .none: self = .none
        case .bool(let value): self = .bool(value)
        case .integer(let value): self = .integer(value)
        case .float(let value): self = .float(value)
        case .string(let value): self = .string(TextValue(value))
        }
    }

    static func text(_ text: String) -> TemplateValue { .string(TextValue(Scalars(text))) }
    static func text(_ scalars: Scalars) -> TemplateValue { .string(TextValue(scalars)) }
    static func undefined(name: String) -> TemplateValue { .undefined(UndefinedValue("'\(name)' is undefined")) }

    var isUndefined: Bool { if case .undefined = self { true } else { false } }
    var isNone: Bool { if case .none = self { true } else { false } }
    var scalars: Scalars? { if case .string(let text) = self { text.scalars } else { nil } }

    /// Levels of values that hold each other, including this one. Namespaces and macros count as one: the interpreter
    /// takes those apart itself.
    var depth: Int {
        switch self {
        case .list(let list), .tuple(let list): list.depth
        case .dictionary(let dictionary): dictionary.depth
        case .view(let view): view.dictionary.depth + 1
        case .iterator(let iterator): iterator.depth
        case .loop(let loop): loop.depth
        case .method(let method): method.receiver.depth + 1
        case .cycler(let cycler): cycler.items.depth + 1
        case .joiner(let joiner): joiner.separator.depth + 1
        default: 1
        }
    }

    /// Python's name of its type.
    var typeName: String {
        switch self {
        case .undefined: "Undefined"
        case .none: "NoneType"
        case .bool: "bool"
        case .integer: "int"
        case .float: "float"
        case .string(let text): text.isMarkup ? "Markup" : "str"
        case .list: "list"
        case .tuple: "tuple"
        case .dictionary: "dict"
        case .view(let view): view.kind.typeName
        case .range: "range"
        case .iterator: "generator"
        case .namespace: "Namespace"
        case .loop: "LoopContext"
        case .macro: "Macro"
        case .function: "function"
        case .method: "method"
        case .cycler: "Cycler"
        case .joiner: "Joiner"
        }
    }

    /// What it counts as in a condition.
    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case .bool(let value): value
        case .integer(let value): value != 0
        case .float(let value): value != 0
        case .string(let text): !text.scalars.isEmpty
        case .list(let list), .tuple(let list): !list.elements.isEmpty
        case .dictionary(let dictionary): dictionary.count > 0
        case .view(let view): view.dictionary.count > 0
        case .range(let range): range.count > 0
        case .iterator, .namespace, .macro, .function, .method, .cycler, .joiner: true
        case .loop(let loop): loop.isNotEmpty
        }
    }
}

/// What stands where there is no value. It prints as nothing and is false; whatever else is done with it fails.
final class UndefinedValue {
    /// What it fails with.
    let problem: String

    init(_ problem: String) { self.problem = problem }

    var failure: TemplateFailure { TemplateFailure(problem) }
}

/// A string; or, after the filters `safe` and `escape`, text in HTML, which escapes whatever is added to it.
struct TextValue {
    var scalars: Scalars
    var isMarkup = false

    init(_ scalars: Scalars, isMarkup: Bool = false) {
        self.scalars = scalars
        self.isMarkup = isMarkup
    }
}

/// The elements of a list or a tuple.
final class ListValue {
    let elements: [TemplateValue]
    let depth: Int
    /// Whether it is a pair of the filter `groupby`, whose parts have the names `grouper` and `list`, too.
    let isGroup: Bool

    /// Throws `.limit` if the nesting is too deep.
    init(_ elements: [TemplateValue], isGroup: Bool = false) throws(TemplateFailure) {
        self.elements = elements
        self.isGroup = isGroup
        depth = try TemplateValue.depth(around: elements)
    }
}

extension TemplateValue {
    /// The depth of a value that holds `parts`. Throws `.limit` beyond the deepest: values are taken apart, compared
    /// and printed by recursion.
    static func depth(around parts: some Sequence<TemplateValue>) throws(TemplateFailure) -> Int {
        var depth = 0
        for part in parts { depth = max(depth, part.depth) }
        guard depth < TemplateLimits.valueDepth else {
            throw .limit("values are nested deeper than \(TemplateLimits.valueDepth)")
        }
        return depth + 1
    }
}

/// Python's `range`, which is not a list.
struct RangeValue {
    var start: Int
    var stop: Int
    /// Not zero.
    var step: Int
    var count: Int

    /// The number at `index`. Of indices outside, as the end of a slice may be, it may wrap around.
    subscript(index: Int) -> Int { start &+ index &* step }
}

/// Values one at a time, once: what Python calls an iterator.
final class ValueIterator {
    /// What `repr` calls it.
    let kind: String
    let depth: Int
    private let advance: () throws(TemplateFailure) -> TemplateValue?

    /// `next` returns `nil` at the end, and may be asked again. `parts` are the values that it holds on to.
    init(
        _ kind: String = "generator", over parts: [TemplateValue],
        next: @escaping () throws(TemplateFailure) -> TemplateValue?
    ) throws(TemplateFailure) {
        self.kind = kind
        depth = try TemplateValue.depth(around: parts)
        advance = next
    }

    /// The next value, `nil` after the last.
    func next() throws(TemplateFailure) -> TemplateValue? { try advance() }
}

/// What `namespace()` makes: names whose values a loop may change.
final class NamespaceValue {
    private(set) var names: [Scalars] = []
    private var values: [Scalars: TemplateValue] = [:]

    func value(of name: Scalars) -> TemplateValue? { values[name] }

    /// Throws for names that begin with an underscore, which would reach into Python.
    func set(_ name: Scalars, to value: TemplateValue) throws(TemplateFailure) {
        guard name.first != "_" else {
            throw TemplateFailure("names in a namespace do not begin with an underscore", found: String(name))
        }
        if values.updateValue(value, forKey: name) == nil { names.append(name) }
    }

    func removeAll() {
        names = []
        values = [:]
    }

    /// Names and values in the order they came.
    func members() throws(TemplateFailure) -> DictionaryValue {
        try DictionaryValue(names.map { (key: .text($0), value: values[$0] ?? .none) })
    }
}

/// A macro, with the names that were in sight where it was written.
final class MacroValue {
    let syntax: MacroSyntax
    let scope: TemplateScope

    init(_ syntax: MacroSyntax, scope: TemplateScope) {
        self.syntax = syntax
        self.scope = scope
    }
}

/// A method of a value, not called yet.
final class MethodValue {
    let receiver: TemplateValue
    let method: TemplateMethod

    init(_ receiver: TemplateValue, _ method: TemplateMethod) {
        self.receiver = receiver
        self.method = method
    }
}

/// What `cycler()` makes.
final class CyclerValue {
    let items: ListValue
    var position = 0

    init(_ items: ListValue) { self.items = items }
}

/// What `joiner()` makes: nothing the first time it is called, the separator after that.
final class JoinerValue {
    let separator: TemplateValue
    var isUsed = false

    init(_ separator: TemplateValue) { self.separator = separator }
}

/// Names and their values, with those around them.
final class TemplateScope {
    var variables: [Int: TemplateValue] = [:]
    let parent: TemplateScope?

    init(parent: TemplateScope?) { self.parent = parent }

    func value(of id: Int) -> TemplateValue? {
        var scope: TemplateScope? = self
        while let current = scope {
            if let value = current.variables[id] { return value }
            scope = current.parent
        }
        return nil
    }
}
