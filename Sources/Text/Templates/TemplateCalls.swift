/// Calling macros, methods and functions.
extension TemplateInterpreter {
    func call(_ callee: TemplateValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        switch callee {
        case .undefined(let value): throw value.failure
        case .macro(let macro): return try call(macro, arguments)
        case .function(let function): return try call(function, arguments)
        case .method(let method): return try call(method, arguments)
        case .loop(let loop):
            guard let recurse = loop.recurse else { throw TemplateFailure("the loop is not recursive") }
            return try string(try recurse(try arguments.only("loop")))
        case .joiner(let joiner):
            try arguments.requireNone("joiner")
            defer { joiner.isUsed = true }
            return joiner.isUsed ? joiner.separator : .text("")
        default: throw TemplateFailure("a \(callee.typeName) cannot be called")
        }
    }

    private func call(_ macro: MacroValue, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        let scope = TemplateScope(parent: macro.scope)
        try bind(arguments, to: macro.syntax, in: scope)
        let (text, _) = try captured { () throws(TemplateFailure) in try run(macro.syntax.body, in: scope) }
        return try string(text)
    }

    /// Puts the arguments of a macro into its scope, then the defaults, which may refer to arguments before them.
    private func bind(
        _ arguments: CallArguments, to syntax: MacroSyntax, in scope: TemplateScope
    ) throws(TemplateFailure) {
        let name = syntax.name ?? "caller"
        var named = arguments.named
        for ((_, id), value) in zip(syntax.parameters, arguments.positional) { scope.variables[id] = value }
        for parameter in syntax.parameters.dropFirst(arguments.positional.count) {
            guard let place = named.firstIndex(where: { $0.name == parameter.name }) else { continue }
            scope.variables[parameter.id] = named.remove(at: place).value
        }
        try bindSpecials(syntax, &named, Array(arguments.positional.dropFirst(syntax.parameters.count)), in: scope)
        if let extra = named.first {
            throw TemplateFailure("the macro '\(name)' has no parameter '\(extra.name)'")
        }
        let firstDefault = syntax.parameters.count - syntax.defaults.count
        for (index, parameter) in syntax.parameters.enumerated() where scope.variables[parameter.id] == nil {
            scope.variables[parameter.id] =
                index < firstDefault
                ? .undefined(UndefinedValue("the parameter '\(parameter.name)' was not given"))
                : try evaluate(syntax.defaults[index - firstDefault], in: scope)
        }
    }

    /// Binds `caller`, `kwargs` and `varargs` where the macro speaks of them.
    private func bindSpecials(
        _ syntax: MacroSyntax, _ named: inout [(name: String, value: TemplateValue)],
        _ rest: [TemplateValue], in scope: TemplateScope
    ) throws(TemplateFailure) {
        func id(_ special: String) -> Int? {
            guard syntax.specials.contains(special), !syntax.parameters.contains(where: { $0.name == special })
            else { return nil }
            return names.firstIndex(of: special)
        }
        if let id = id("caller") {
            let place = named.firstIndex { $0.name == "caller" }
            scope.variables[id] = place.map { named.remove(at: $0).value } ?? .undefined(name: "caller")
        }
        if let id = id("kwargs") {
            scope.variables[id] = try dictionary(named.map { (key: .text($0.name), value: $0.value) })
            named = []
        }
        if let id = id("varargs") {
            scope.variables[id] = try tuple(rest)
        } else if !rest.isEmpty {
            throw TemplateFailure(
                "too many arguments for the macro '\(syntax.name ?? "caller")'",
                expected: "at most \(syntax.parameters.count)", found: "\(syntax.parameters.count + rest.count)")
        }
    }

    /// A method or a property of a value's type, before its elements are looked at; `nil` if there is none of that
    /// name. Throws for what the sandbox keeps out.
    func property(_ name: Scalars, of owner: TemplateValue) throws(TemplateFailure) -> TemplateValue? {
        switch owner {
        case .namespace(let namespace): return namespace.value(of: name)
        case .loop(let loop):
            if let value = try property(String(name), of: loop) { return value }
        case .macro(let macro):
            if let value = try property(String(name), of: macro.syntax) { return value }
        case .tuple(let pair) where pair.isGroup:
            if name == Scalars("grouper") { return pair.elements[0] }
            if name == Scalars("list") { return pair.elements[1] }
        case .cycler(let cycler) where name == Scalars("current"): return cycler.items.elements[cycler.position]
        default: break
        }
        guard let method = TemplateMethod(rawValue: String(name)), method.belongs(to: owner) else {
            return nil
        }
        guard !method.isMutating(owner) else {
            return .undefined(
                UndefinedValue("'\(method.rawValue)' would change a \(owner.typeName), which templates may not"))
        }
        return .method(MethodValue(owner, method))
    }

    private func property(_ name: String, of loop: LoopValue) throws(TemplateFailure) -> TemplateValue? {
        switch name {
        case "index": return .integer(loop.index0 + 1)
        case "index0": return .integer(loop.index0)
        case "first": return .bool(loop.index0 == 0)
        case "last": return .bool(try loop.peek() == nil)
        case "length": return .integer(try loop.length())
        case "revindex": return .integer(try loop.length() - loop.index0)
        case "revindex0": return .integer(try loop.length() - loop.index0 - 1)
        case "depth": return .integer(loop.level + 1)
        case "depth0": return .integer(loop.level)
        case "previtem":
            return loop.previous ?? .undefined(UndefinedValue("there is no previous item"))
        case "nextitem": return try loop.peek() ?? .undefined(UndefinedValue("there is no next item"))
        default: return nil
        }
    }

    private func property(_ name: String, of macro: MacroSyntax) throws(TemplateFailure) -> TemplateValue? {
        switch name {
        case "name": return macro.name.map(TemplateValue.text) ?? TemplateValue.none
        case "arguments": return try tuple(macro.parameters.map { .text($0.name) })
        case "caller", "catch_kwargs", "catch_varargs":
            let special = ["caller": "caller", "catch_kwargs": "kwargs", "catch_varargs": "varargs"][name]
            return .bool(special.map(macro.specials.contains) == true)
        default: return nil
        }
    }
}
