import TensorCore

/// What is wrong with a template or with what it does, before file and line are known.
struct TemplateFailure: Error {
    var kind: LaminaError.Kind
    /// What is wrong, lower-case, without a full stop.
    var problem: String
    var expected: String?
    var found: String?
    /// Where, in scalars from the start of the template; filled in by the innermost expression that knows.
    var offset: Int?

    init(
        _ problem: String, kind: LaminaError.Kind = .malformed, expected: String? = nil, found: String? = nil,
        offset: Int? = nil
    ) {
        self.kind = kind
        self.problem = problem
        self.expected = expected
        self.found = found
        self.offset = offset
    }

    /// The same failure at `offset`, unless its place is known already.
    func located(_ offset: Int) -> TemplateFailure {
        var failure = self
        if failure.offset == nil { failure.offset = offset }
        return failure
    }

    /// A limit that was reached.
    static func limit(_ problem: String) -> TemplateFailure { TemplateFailure(problem, kind: .limit) }
}

/// Bounds on what one rendering may do, whatever the template says.
public struct TemplateLimits: Sendable, Equatable {
    /// Units of work. A step of the template costs 16, an element of a list it makes 16, a character of a text 2.
    /// The default allows some seconds, and half a gigabyte of texts made on the way.
    public var work: Int
    /// How deep expressions, statements, macro calls and recursive loops may nest while rendering.
    public var depth: Int
    /// Longest result, in bytes of UTF-8, and longest text on the way, in characters.
    public var outputBytes: Int

    public init(work: Int = 1 << 28, depth: Int = 600, outputBytes: Int = 1 << 24) {
        self.work = work
        self.depth = depth
        self.outputBytes = outputBytes
    }

    /// How deep a template's own text may nest expressions and statements.
    static let syntaxDepth = 100
    /// How deep lists, dictionaries and iterators may hold each other.
    static let valueDepth = 200
    /// Costs in units of work.
    static let stepCost = 16
    static let elementCost = 16
    static let characterCost = 2
}
