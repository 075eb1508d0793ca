/// The values a function, method, filter, test or macro is called with.
struct CallArguments {
    var positional: [TemplateValue] = []
    var named: [(name: String, value: TemplateValue)] = []

    var all: [TemplateValue] { positional + named.map(\.value) }

    /// The values of `parameters`, in their order; `nil` for those not given. Throws if there are too many, a name that
    /// is no parameter, a value twice, or none for one of the first `required`. `callee` is named in errors.
    func values(
        of callee: String, _ parameters: [String], required: Int = 0
    ) throws(TemplateFailure) -> [TemplateValue?] {
        guard positional.count <= parameters.count else {
            throw TemplateFailure(
                "too many arguments for '\(callee)'", expected: "at most \(parameters.count)",
                found: "\(positional.count)")
        }
        var values: [TemplateValue?] = positional
        values += [TemplateValue?](repeating: nil, count: parameters.count - positional.count)
        for (name, value) in named {
            guard let place = parameters.firstIndex(of: name) else {
                throw TemplateFailure(
                    "'\(callee)' has no parameter '\(name)'",
                    expected: parameters.isEmpty ? "none" : parameters.joined(separator: ", "))
            }
            guard values[place] == nil else { throw TemplateFailure("'\(callee)' is given '\(name)' twice") }
            values[place] = value
        }
        for place in 0..<required where values[place] == nil {
            throw TemplateFailure("'\(callee)' needs the argument '\(parameters[place])'")
        }
        return values
    }

    /// The only argument.
    func only(_ callee: String) throws(TemplateFailure) -> TemplateValue {
        guard positional.count == 1, named.isEmpty else {
            throw TemplateFailure("'\(callee)' takes one argument", found: "\(positional.count + named.count)")
        }
        return positional[0]
    }

    /// Throws unless there are none.
    func requireNone(_ callee: String) throws(TemplateFailure) {
        guard positional.isEmpty, named.isEmpty else { throw TemplateFailure("'\(callee)' takes no arguments") }
    }
}

extension TemplateValue {
    /// The value as a whole number. Throws, naming what it is for.
    func integer(_ what: String) throws(TemplateFailure) -> Int {
        if case .undefined(let value) = self { throw value.failure }
        guard let integer = asInteger else {
            throw TemplateFailure("\(what) is no whole number", found: typeName)
        }
        return integer
    }

    /// The value as a string. Throws, naming what it is for.
    func text(_ what: String) throws(TemplateFailure) -> Scalars {
        guard let scalars else { throw TemplateFailure("\(what) is no string", found: typeName) }
        return scalars
    }
}

extension Optional where Wrapped == TemplateValue {
    /// The value if it is given and not none.
    var given: TemplateValue? {
        guard let self, !self.isNone else { return nil }
        return self
    }
}
