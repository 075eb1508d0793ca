/// Functions that every template may call.
enum GlobalFunction: String, CaseIterable {
    case range, dict, namespace, cycler, joiner
    case raiseException = "raise_exception"
    case strftimeNow = "strftime_now"
}

extension TemplateInterpreter {
    func call(_ function: GlobalFunction, _ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        switch function {
        case .range: return try range(arguments)
        case .dict: return try dictionary(try members(of: "dict", arguments))
        case .namespace:
            let namespace = NamespaceValue()
            for (key, value) in try members(of: "namespace", arguments) {
                try namespace.set(try key.text("a name in a namespace"), to: value)
            }
            return register(namespace)
        case .cycler:
            guard !arguments.positional.isEmpty, arguments.named.isEmpty else {
                throw TemplateFailure("'cycler' needs at least one item")
            }
            return .cycler(CyclerValue(try ListValue(arguments.positional)))
        case .joiner:
            let separator = try arguments.values(of: "joiner", ["sep"])[0]
            return .joiner(JoinerValue(separator ?? .text(", ")))
        case .raiseException:
            let message = try arguments.values(of: "raise_exception", ["message"], required: 1)[0] ?? .none
            throw TemplateFailure("the template refuses: \(String(try text(of: message)))")
        case .strftimeNow:
            let format = try arguments.values(of: "strftime_now", ["format"], required: 1)[0] ?? .none
            return try string(try now.formatted(try format.text("the format of a time")))
        }
    }

    private func range(_ arguments: CallArguments) throws(TemplateFailure) -> TemplateValue {
        guard arguments.named.isEmpty, (1...3).contains(arguments.positional.count) else {
            throw TemplateFailure("'range' takes one to three numbers")
        }
        var numbers: [Int] = []
        for value in arguments.positional { numbers.append(try value.integer("an argument of 'range'")) }
        let (start, stop) = numbers.count == 1 ? (0, numbers[0]) : (numbers[0], numbers[1])
        let step = numbers.count == 3 ? numbers[2] : 1
        guard step != 0 else { throw TemplateFailure("the step of 'range' is zero") }
        guard step > 0 ? start < stop : start > stop else {
            return .range(RangeValue(start: start, stop: stop, step: step, count: 0))
        }
        let distance =
            start < stop ? stop.subtractingReportingOverflow(start) : start.subtractingReportingOverflow(stop)
        let count = (distance.partialValue - 1) / Int(clamping: step.magnitude) + 1
        guard !distance.overflow, count <= TemplateInterpreter.maximumRangeCount else {
            throw .limit("a range has more than \(TemplateInterpreter.maximumRangeCount) numbers")
        }
        return .range(RangeValue(start: start, stop: stop, step: step, count: count))
    }

    /// The members that `dict(...)` would have: those of a dictionary or of pairs, then the named arguments.
    func members(
        of callee: String, _ arguments: CallArguments
    ) throws(TemplateFailure) -> [(key: TemplateValue, value: TemplateValue)] {
        var members: [(key: TemplateValue, value: TemplateValue)] = []
        guard arguments.positional.count <= 1 else {
            throw TemplateFailure("too many arguments for '\(callee)'", expected: "at most 1")
        }
        if case .dictionary(let dictionary)? = arguments.positional.first {
            members = dictionary.members
        } else if let pairs = arguments.positional.first {
            if case .undefined(let undefined) = pairs { throw undefined.failure }
            for pair in try elements(of: pairs) {
                let parts = try elements(of: pair)
                guard parts.count == 2 else {
                    throw TemplateFailure("'\(callee)' needs pairs", found: "\(parts.count) values")
                }
                members.append((parts[0], parts[1]))
            }
        }
        try charge(elements: members.count)
        return members + arguments.named.map { (key: .text($0.name), value: $0.value) }
    }
}
