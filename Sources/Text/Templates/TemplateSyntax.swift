/// A value written in a template.
enum TemplateLiteral: Sendable {
    case none
    case bool(Bool)
    case integer(Int)
    case float(Double)
    case string(Scalars)
}

/// An expression of a template.
struct TemplateExpression: Sendable {
    indirect enum Kind: Sendable {
        case constant(TemplateLiteral)
        case name(Int)
        case attribute(TemplateExpression, Scalars)
        case item(TemplateExpression, TemplateExpression)
        case slice(TemplateExpression, [TemplateExpression?])
        case call(TemplateExpression, CallSyntax)
        case filter(TemplateExpression, TemplateFilter?, String, CallSyntax)
        case test(TemplateExpression, TemplateTest?, String, CallSyntax)
        case negation(TemplateExpression)
        case unary(TemplateToken.Symbol, TemplateExpression)
        case binary(TemplateToken.Symbol, TemplateExpression, TemplateExpression)
        case comparison(TemplateExpression, [(Comparison, TemplateExpression)])
        case both(TemplateExpression, TemplateExpression)
        case either(TemplateExpression, TemplateExpression)
        case concatenation([TemplateExpression])
        case conditional(TemplateExpression, then: TemplateExpression, otherwise: TemplateExpression?)
        case list([TemplateExpression])
        case tuple([TemplateExpression])
        case dictionary([(TemplateExpression, TemplateExpression)])
        /// The text of the block that a filter is applied to.
        case blockText
    }

    enum Comparison: Sendable { case equal, unequal, less, atMost, greater, atLeast, contained, notContained }

    var kind: Kind
    /// Where it is in the template, in scalars.
    var offset: Int
    /// Levels of expressions below and including this one.
    var depth: Int
}

/// The arguments of a call as written.
struct CallSyntax: Sendable {
    var positional: [TemplateExpression] = []
    var named: [(name: String, value: TemplateExpression)] = []
    /// What `*` and `**` unpack.
    var unpacked: TemplateExpression?
    var unpackedNamed: TemplateExpression?

    var all: [TemplateExpression] {
        positional + named.map(\.value) + [unpacked, unpackedNamed].compactMap(\.self)
    }
}

/// A statement of a template.
struct TemplateStatement: Sendable {
    indirect enum Kind: Sendable {
        case data(Scalars)
        case output(TemplateExpression)
        case set(AssignmentTarget, TemplateExpression)
        /// The filter, if any, is applied to the block's text.
        case setBlock(AssignmentTarget, filter: TemplateExpression?, body: [TemplateStatement])
        case loop(LoopSyntax)
        case branches([(condition: TemplateExpression, body: [TemplateStatement])], otherwise: [TemplateStatement])
        case with([(AssignmentTarget, TemplateExpression)], body: [TemplateStatement])
        case macro(MacroSyntax)
        case call(MacroSyntax, TemplateExpression)
        case filterBlock(TemplateExpression, body: [TemplateStatement])
        /// A block with names of its own.
        case scope([TemplateStatement])
        case leaveLoop
        case nextIteration
    }

    var kind: Kind
    var offset: Int
}

/// What a value is assigned to.
indirect enum AssignmentTarget: Sendable {
    case name(Int)
    /// An attribute of a namespace.
    case attribute(Int, Scalars)
    case tuple([AssignmentTarget])
}

/// A for statement.
final class LoopSyntax: Sendable {
    let target: AssignmentTarget
    let iterable: TemplateExpression
    let condition: TemplateExpression?
    let isRecursive: Bool
    let body: [TemplateStatement]
    let otherwise: [TemplateStatement]

    init(
        target: AssignmentTarget, iterable: TemplateExpression, condition: TemplateExpression?, isRecursive: Bool,
        body: [TemplateStatement], otherwise: [TemplateStatement]
    ) {
        self.target = target
        self.iterable = iterable
        self.condition = condition
        self.isRecursive = isRecursive
        self.body = body
        self.otherwise = otherwise
    }
}

/// A macro, or the body of a call block, which is a macro without a name.
final class MacroSyntax: Sendable {
    /// `nil` for a call block.
    let name: String?
    let nameID: Int
    let parameters: [(name: String, id: Int)]
    /// Values of the last parameters.
    let defaults: [TemplateExpression]
    let body: [TemplateStatement]
    /// Which of `caller`, `kwargs` and `varargs` the body speaks of.
    let specials: Set<String>

    init(
        name: String?, nameID: Int, parameters: [(name: String, id: Int)], defaults: [TemplateExpression],
        body: [TemplateStatement], specials: Set<String>
    ) {
        self.name = name
        self.nameID = nameID
        self.parameters = parameters
        self.defaults = defaults
        self.body = body
        self.specials = specials
    }
}
