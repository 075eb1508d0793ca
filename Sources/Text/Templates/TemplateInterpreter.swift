/// Renders one template once. Everything that a template can make large or deep is counted here.
final class TemplateInterpreter {
    /// The time that `strftime_now` tells.
    let now: LocalTime
    private let limits: TemplateLimits
    /// The names in the template, by id.
    let names: [String]
    /// The id of `loop`, if the template speaks of it.
    let loopID: Int?
    private var work = 0
    private var depth = 0
    /// What was written so far by the statements that run: the result, or the text of the innermost block.
    private(set) var output: Scalars = []
    /// Bytes of UTF-8 in the result.
    private var outputBytes = 0
    private var captures = 0
    /// The texts of the blocks whose filters run.
    var blockTexts: [Scalars] = []
    /// All namespaces, and scopes that macros hold: they can hold each other in circles and long chains.
    private var namespaces: [NamespaceValue] = []
    private var scopes: [TemplateScope] = []

    init(names: [String], limits: TemplateLimits, now: LocalTime) {
        self.names = names
        loopID = names.firstIndex(of: "loop")
        self.limits = limits
        self.now = now
    }

    /// The text of `statements`, in a scope around which are the variables and the global functions.
    func render(
        _ statements: [TemplateStatement], variables: [(name: String, value: TemplateValue)]
    ) throws(TemplateFailure) -> Scalars {
        var globals: [String: TemplateValue] = [:]
        for function in GlobalFunction.allCases { globals[function.rawValue] = .function(function) }
        for (name, value) in variables { globals[name] = value }
        let outer = TemplateScope(parent: nil)
        for (id, name) in names.enumerated() { outer.variables[id] = globals[name] }
        let scope = TemplateScope(parent: outer)
        defer { takeApart(scope) }
        _ = try run(statements, in: scope)
        return output
    }

    /// Breaks circles, and chains too long to be released by recursion, while everything is still held here.
    private func takeApart(_ root: TemplateScope) {
        root.variables = [:]
        for scope in scopes { scope.variables = [:] }
        for namespace in namespaces { namespace.removeAll() }
    }

    func register(_ namespace: NamespaceValue) -> TemplateValue {
        namespaces.append(namespace)
        return .namespace(namespace)
    }

    /// Notes a scope that a macro holds.
    func register(_ scope: TemplateScope) {
        if scopes.last !== scope { scopes.append(scope) }
    }

    // MARK: Limits

    /// Counts work. Throws `.limit` when there was too much.
    func charge(_ units: Int) throws(TemplateFailure) {
        let (sum, overflows) = work.addingReportingOverflow(units)
        guard !overflows, sum <= limits.work else { throw .limit("the template does more work than allowed") }
        work = sum
    }

    func charge(elements: Int) throws(TemplateFailure) {
        // Lists are at most as long as the work allows, so this does not overflow.
        try charge(min(elements, limits.work) * TemplateLimits.elementCost)
    }

    /// Counts a text about to be made. Throws `.limit` if it is too long.
    func charge(characters: Int) throws(TemplateFailure) {
        guard characters <= limits.outputBytes else {
            throw .limit("a text is longer than \(limits.outputBytes) characters")
        }
        try charge(characters * TemplateLimits.characterCost)
    }

    /// Appends to a text being made. Throws `.limit` if it gets too long.
    func append(_ text: Scalars, to result: inout Scalars) throws(TemplateFailure) {
        guard result.count + text.count <= limits.outputBytes else {
            throw .limit("a text is longer than \(limits.outputBytes) characters")
        }
        try charge(characters: text.count)
        result += text
    }

    /// Counts the hashing of a key.
    func charge(key: TemplateValue) throws(TemplateFailure) { try charge(key.scalars?.count ?? 0) }

    /// Runs `body` one level deeper. Throws `.limit` beyond the deepest.
    func deeper<Value>(_ body: () throws(TemplateFailure) -> Value) throws(TemplateFailure) -> Value {
        depth += 1
        defer { depth -= 1 }
        guard depth <= limits.depth else {
            throw .limit("calls and blocks are nested deeper than \(limits.depth) while rendering")
        }
        try charge(TemplateLimits.stepCost)
        return try body()
    }

    // MARK: Output

    /// Writes to the result or to the block being captured. Throws `.limit` if it gets too long.
    func write(_ text: Scalars) throws(TemplateFailure) {
        try charge(characters: text.count)
        if captures == 0 {
            outputBytes += text.utf8Count
            guard outputBytes <= limits.outputBytes else {
                throw .limit("the result is longer than \(limits.outputBytes) bytes")
            }
        }
        output += text
    }

    /// What `body` writes, instead of writing it.
    func captured<Value>(
        _ body: () throws(TemplateFailure) -> Value
    ) throws(TemplateFailure) -> (text: Scalars, value: Value) {
        let outer = output
        output = []
        captures += 1
        defer {
            captures -= 1
            output = outer
        }
        let value = try body()
        return (output, value)
    }

    // MARK: Making values

    /// A string. Throws `.limit` if it is too long.
    func string(_ scalars: Scalars, isMarkup: Bool = false) throws(TemplateFailure) -> TemplateValue {
        try charge(characters: scalars.count)
        return .string(TextValue(scalars, isMarkup: isMarkup))
    }

    func string(_ text: String) throws(TemplateFailure) -> TemplateValue { try string(Scalars(text)) }

    func list(_ elements: [TemplateValue]) throws(TemplateFailure) -> TemplateValue {
        try charge(elements: elements.count)
        return .list(try ListValue(elements))
    }

    func tuple(_ elements: [TemplateValue]) throws(TemplateFailure) -> TemplateValue {
        try charge(elements: elements.count)
        return .tuple(try ListValue(elements))
    }
}
