/// Running statements.
extension TemplateInterpreter {
    /// How a block ended.
    enum Flow {
        case finished
        case leftLoop
        case nextIteration
    }

    /// Runs a block. Returns early at `break` and `continue`.
    func run(_ statements: [TemplateStatement], in scope: TemplateScope) throws(TemplateFailure) -> Flow {
        try deeper { () throws(TemplateFailure) in
            for statement in statements {
                let flow: Flow
                do throws(TemplateFailure) {
                    flow = try run(statement, in: scope)
                } catch {
                    throw error.located(statement.offset)
                }
                if flow != .finished { return flow }
            }
            return .finished
        }
    }

    private func run(_ statement: TemplateStatement, in scope: TemplateScope) throws(TemplateFailure) -> Flow {
        switch statement.kind {
        case .data(let text): try write(text)
        case .output(let expression): try write(try text(of: try evaluate(expression, in: scope)))
        case .set(let target, let expression):
            try checkNamespaces(target, in: scope)
            try assign(try evaluate(expression, in: scope), to: target, in: scope)
        case .setBlock(let target, let filter, let body):
            return try runSetBlock(target, filter, body, in: scope)
        case .loop(let loop): return try run(loop, in: scope)
        case .branches(let branches, let otherwise):
            for (condition, body) in branches where try evaluate(condition, in: scope).isTrue {
                return try run(body, in: scope)
            }
            return try run(otherwise, in: scope)
        case .with(let values, let body):
            let inner = TemplateScope(parent: scope)
            for (target, expression) in values {
                try assign(try evaluate(expression, in: scope), to: target, in: inner)
            }
            return try run(body, in: inner)
        case .macro(let syntax):
            register(scope)
            scope.variables[syntax.nameID] = .macro(MacroValue(syntax, scope: scope))
        case .call(let syntax, let call): try runCallBlock(syntax, call, in: scope)
        case .filterBlock(let filter, let body):
            let inner = TemplateScope(parent: scope)
            let (value, flow) = try filtered(filter, body, in: inner)
            if flow != .finished { return flow }
            try write(try text(of: value))
        case .scope(let body): return try run(body, in: TemplateScope(parent: scope))
        case .leaveLoop: return .leftLoop
        case .nextIteration: return .nextIteration
        }
        return .finished
    }

    private func runSetBlock(
        _ target: AssignmentTarget, _ filter: TemplateExpression?, _ body: [TemplateStatement],
        in scope: TemplateScope
    ) throws(TemplateFailure) -> Flow {
        let inner = TemplateScope(parent: scope)
        let (value, flow) = try filtered(filter, body, in: inner)
        if flow == .finished {
            try checkNamespaces(target, in: scope)
            try assign(value, to: target, in: scope)
        }
        return flow
    }

    /// The text of a block, and what `filter` makes of it.
    private func filtered(
        _ filter: TemplateExpression?, _ body: [TemplateStatement], in scope: TemplateScope
    ) throws(TemplateFailure) -> (value: TemplateValue, flow: Flow) {
        let (text, flow) = try captured { () throws(TemplateFailure) in try run(body, in: scope) }
        guard let filter, flow == .finished else { return (try string(text), flow) }
        blockTexts.append(text)
        defer { blockTexts.removeLast() }
        return (try evaluate(filter, in: scope), flow)
    }

    private func runCallBlock(
        _ syntax: MacroSyntax, _ call: TemplateExpression, in scope: TemplateScope
    ) throws(TemplateFailure) {
        register(scope)
        let caller = TemplateValue.macro(MacroValue(syntax, scope: scope))
        guard case .call(let callee, let arguments) = call.kind else { return }
        do throws(TemplateFailure) {
            let callee = try evaluate(callee, in: scope)
            var values = try values(of: arguments, in: scope)
            // The block reaches the macro as an argument like others.
            values.named.append(("caller", caller))
            try write(try text(of: try self.call(callee, values)))
        } catch {
            throw error.located(call.offset)
        }
    }

    // MARK: Assignment

    /// Throws if an attribute of anything but a namespace is assigned to, before the value is computed.
    private func checkNamespaces(_ target: AssignmentTarget, in scope: TemplateScope) throws(TemplateFailure) {
        switch target {
        case .name: return
        case .attribute(let id, _): _ = try namespace(id, in: scope)
        case .tuple(let targets): for target in targets { try checkNamespaces(target, in: scope) }
        }
    }

    private func namespace(_ id: Int, in scope: TemplateScope) throws(TemplateFailure) -> NamespaceValue {
        let value = scope.value(of: id) ?? .undefined(name: names[id])
        guard case .namespace(let namespace) = value else {
            throw TemplateFailure(
                "only attributes of a namespace can be set", found: "'\(names[id])', which is \(value.typeName)")
        }
        return namespace
    }

    func assign(
        _ value: TemplateValue, to target: AssignmentTarget, in scope: TemplateScope
    ) throws(TemplateFailure) {
        switch target {
        case .name(let id): scope.variables[id] = value
        case .attribute(let id, let name):
            try charge(elements: 1)
            try namespace(id, in: scope).set(name, to: value)
        case .tuple(let targets):
            let elements = try elements(of: value)
            guard elements.count == targets.count else {
                throw TemplateFailure(
                    "the numbers of names and values differ", expected: "\(targets.count) values",
                    found: "\(elements.count)")
            }
            for (target, element) in zip(targets, elements) { try assign(element, to: target, in: scope) }
        }
    }
}
